"""Pre-training without labels: what it learns, and what it leaves alone."""

import numpy as np
import pytest
import torch
from made_inputs import changed, token_inputs

from parzc.models.token_mixer import TokenMixer
from parzc.ranker import pretraining
from parzc.ranker.pretraining import PretrainingConfig, WarmStart, continued, pretrain

SCORES, BLOCKS = 4, 3


def pool(n=120, scores=SCORES, blocks=BLOCKS):
    """Networks whose scores and block statistics are functions of their tokens."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(n, 5, 3, generator=generator)
    weights = torch.randn(15, scores + blocks, generator=generator) / 15**0.5
    values = torch.tanh(tokens.flatten(1) @ weights)
    return token_inputs([tokens, values[:, :scores], values[:, scores:]])


def mixer(scores=SCORES, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TokenMixer(5, 3, scores, **{"dim": 16, "depth": 1, "dropout": 0.0} | options)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return {name for name in one if torch.equal(one[name], other[name])}


def test_the_loss_falls_where_scores_follow_from_tokens():
    config = PretrainingConfig(steps=300, batch=60, learning_rate=1e-2, hidden_tokens=0.0)
    history = pretrain(mixer(), pool(), config, 0)
    assert len(history) == 300
    # At first as good as a guess: the mean square of the targets.
    guess = sum(part.square().mean().item() for part in (pool().scores, pool().blocks))
    assert np.mean(history[:5]) == pytest.approx(guess, rel=0.5)
    assert np.mean(history[-20:]) < 0.4 * guess


def test_hidden_tokens_make_it_harder():
    final = {}
    for hidden in (0.0, 0.9):
        config = PretrainingConfig(steps=200, batch=60, learning_rate=1e-2, hidden_tokens=hidden)
        final[hidden] = np.mean(pretrain(mixer(), pool(), config, 0)[-20:])
    assert final[0.9] > 1.3 * final[0.0]


def test_everything_but_the_head_is_trained():
    before, model = mixer(), mixer()
    pretrain(model, pool(), PretrainingConfig(steps=3, batch=20), 0)
    assert same(before, model) == {name for name in before.state_dict() if name.startswith("head.")}
    assert not model.training


def test_the_seed_decides_and_the_random_state_is_left_alone():
    models, histories = [], []
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    for seed in (1, 1, 2):
        models.append(mixer(dropout=0.2))
        histories.append(pretrain(models[-1], pool(), PretrainingConfig(steps=4, batch=20), seed))
    continued(models[0], 5)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]
    assert histories[0] == histories[1] != histories[2]
    assert same(models[0], models[1]) == set(models[0].state_dict())
    assert same(models[0], models[2]) == {name for name in models[0].state_dict() if name.startswith("head.")}


def test_a_copy_gets_a_head_of_its_own():
    model = mixer()
    pretrain(model, pool(), PretrainingConfig(steps=2, batch=20), 0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    first, again, other = continued(model, 3), continued(model, 3), continued(model, 4)
    head = {"head.weight_mu", "head.bias_mu"}
    assert same(first, again) == set(state)
    # The spread of the head's weights starts at one value, whatever the seed.
    assert same(first, other) == same(first, model) == set(state) - head
    with torch.no_grad():
        first.place.add_(1)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_few_steps_are_enough(steps):
    model = mixer()
    assert len(pretrain(model, pool(), PretrainingConfig(steps=steps, batch=20), 0)) == steps
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert not torch.equal(model.place, mixer().place)


def test_a_pool_may_be_smaller_than_a_batch():
    history = pretrain(mixer(), pool(3), PretrainingConfig(steps=5, batch=256), 0)
    assert len(history) == 5 and np.isfinite(history).all()


@pytest.mark.parametrize(("scores", "blocks"), [(SCORES, 0), (0, BLOCKS)])
def test_there_may_be_only_scores_or_only_blocks(scores, blocks):
    model = mixer(scores)
    config = PretrainingConfig(steps=200, batch=60, learning_rate=1e-2, hidden_tokens=0.0)
    history = pretrain(model, pool(120, scores, blocks), config, 0)
    assert np.mean(history[-20:]) < 0.6 * np.mean(history[:5])


def test_without_targets_nothing_is_learned():
    model = mixer(0)
    assert pretrain(model, pool(20, 0, 0), PretrainingConfig(steps=5), 0) == []
    assert same(model, mixer(0)) == set(model.state_dict())


def test_the_loss_by_hand_where_all_is_hidden(monkeypatch):
    # With one network and zero weights, the prediction is 0: the loss is a mean of squares.
    inputs = pool(1)
    monkeypatch.setattr(torch, "rand", lambda *size: torch.zeros(*size))
    monkeypatch.setattr(
        torch.nn.Linear, "forward", lambda self, x: x.new_zeros(*x.shape[:-1], self.out_features) + 0 * x.sum()
    )
    (loss,) = pretrain(mixer(), inputs, PretrainingConfig(steps=1), 0)
    assert loss == pytest.approx((inputs.scores.square().mean() + inputs.blocks.square().mean()).item(), rel=1e-5)


def test_hidden_scores_are_predicted_from_an_architecture_encoding():
    tokens, scores, blocks = pool().parts.values()
    config = PretrainingConfig(steps=200, batch=60, learning_rate=1e-2, hidden_tokens=1.0)
    values = torch.cat([scores, blocks], 1)
    final = {}
    for name, own in (("of these", values), ("of others", values.flip(0))):
        model = mixer(arch=7)
        inputs = token_inputs([tokens, scores, blocks, own[:, :3], own[:, 3:], torch.zeros(120, 0)])
        final[name] = np.mean(pretrain(model, inputs, config, 0)[-20:])
        assert not torch.equal(model.embed_arch.weight, mixer(arch=7).embed_arch.weight)
    assert final["of these"] < 0.4 * final["of others"]


@pytest.fixture
def begun(monkeypatch):
    """How often a pre-training began."""
    calls = []
    monkeypatch.setattr(pretraining, "pretrain", lambda *args: [calls.append(args), pretrain(*args)])
    return calls


def test_a_warm_start_holds_the_same_pretraining(begun):
    config, warm_start = PretrainingConfig(steps=3, batch=20), WarmStart()
    expected, first, again = mixer(), mixer(), mixer()
    pretrain(expected, pool(), config, 5)
    warm_start.pretrain(first, pool(), config, 5)
    with torch.no_grad():
        first.place.add_(1)
    again.train()
    warm_start.pretrain(again, pool(), config, 5)
    assert len(begun) == 1
    WarmStart().pretrain(mixer(), pool(), config, 5)
    assert len(begun) == 2
    assert same(expected, again) == set(expected.state_dict()) and not again.training


@pytest.mark.parametrize("other", ["start", "dropout", "pool", "columns", "config", "seed"])
def test_another_pretraining_is_not(begun, other):
    models, pools = [mixer(), mixer(dropout=0.2 if other == "dropout" else 0.0)], [pool(), pool()]
    configs, seeds = [PretrainingConfig(steps=2, batch=20)] * 2, [0, 0]
    if other == "start":
        with torch.no_grad():
            models[1].head.bias_mu.add_(1)
    if other == "pool":
        pools[1].blocks[7, 1] += 1e-3
    if other == "columns":
        # The same numbers side by side.
        pools[1] = changed(pools[1], blocks=pools[1].blocks.reshape(-1, 1))
    if other == "config":
        configs[1] = PretrainingConfig(steps=2, batch=21)
    if other == "seed":
        seeds[1] = 1
    warm_start = WarmStart()
    for model, networks, config, seed in zip(models, pools, configs, seeds, strict=True):
        warm_start.pretrain(model, networks, config, seed)
    assert len(begun) == 2


def test_the_pretraining_that_was_used_longest_ago_is_forgotten(begun):
    warm_start = WarmStart(most=2)
    for seed in (0, 1, 0, 2, 0, 1):
        warm_start.pretrain(mixer(), pool(), PretrainingConfig(steps=1, batch=20), seed)
    assert [seed for *_, seed in begun] == [0, 1, 2, 1]
