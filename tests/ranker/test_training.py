"""The training loop on a linear rule that any of its losses can learn."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from parzc.errors import InputError
from parzc.evaluation.metrics import kendall_tau
from parzc.models.bayesian import BayesianLinear, kl_divergence
from parzc.ranker.losses import LOSSES, diff_kendall, mse
from parzc.ranker.training import TrainingConfig, _loss, _optimizer, _schedule, train

X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([3.0, -2.0, 0.5, 0.0, 1.0]) + 90
QUICK = {"epochs": 40, "batch": 8, "learning_rate": 5e-2, "weight_decay": 0.0}


class Model(nn.Module):
    """Dropout and a Bayesian layer, so that training draws random numbers of both kinds."""

    def __init__(self, dropout=0.1):
        super().__init__()
        self.drop, self.head = nn.Dropout(dropout), BayesianLinear(5, 1)

    def forward(self, x):
        return self.head(self.drop(x)).squeeze(-1)


def model(**arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Model(**arguments)


def trained(seed=0, labels=Y, **settings):
    network = model()
    history = train(network, X, labels, TrainingConfig(**QUICK | settings), seed)
    return network, history


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_the_loss_falls_and_the_order_is_learned():
    network, history = trained()
    assert len(history) == 40
    assert np.mean(history[-5:]) < np.mean(history[:5]) - 0.05
    assert not network.training
    with torch.no_grad():
        assert kendall_tau(network(X).numpy(), Y.numpy()) > 0.8


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(loss):
    network, history = trained(loss=loss, epochs=80)
    with torch.no_grad():
        before, after = kendall_tau(model().eval()(X), Y), kendall_tau(network(X), Y)
    assert before < 0.5 and after > 0.85
    assert np.mean(history[-5:]) < np.mean(history[:5])


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, history = trained(seed=3)
    again, same = trained(seed=3)
    assert history == same and torch.equal(weights(first), weights(again))
    other, different = trained(seed=4)
    assert history != different and not torch.equal(weights(first), weights(other))


def test_random_states_are_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    _, history = trained()
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    torch.manual_seed(6)
    assert trained()[1] == history


def test_batch_0_is_all_of_them():
    full, history = trained(batch=0)
    explicit, same = trained(batch=24)
    assert torch.equal(weights(full), weights(explicit)) and history == same
    assert history != trained(batch=12)[1]


def test_the_history_is_the_mean_over_architectures():
    # Nothing moves and nothing is drawn, so an epoch's loss is that of the model, whatever the last batch holds.
    network = model(dropout=0.0)
    network.head.freeze = True
    with torch.no_grad():
        expected = mse(network(X), (Y - Y.mean()) / Y.std()).item()
    history = train(network, X, Y, TrainingConfig("mse", epochs=2, batch=10, learning_rate=0.0), 0)
    assert history == pytest.approx([expected, expected], rel=1e-5)


def test_labels_may_be_in_any_unit():
    network, history = trained(loss="mse", labels=Y)
    scaled, same = trained(loss="mse", labels=Y / 100 - 7)
    assert history == pytest.approx(same, rel=1e-3)
    torch.testing.assert_close(weights(network), weights(scaled), rtol=1e-3, atol=1e-4)


def test_equal_labels_teach_nothing_and_break_nothing():
    network, history = trained(labels=torch.full((24,), 7.0))
    assert history == [0.0] * 40
    torch.testing.assert_close(network.head.weight_mu, model().head.weight_mu, rtol=0, atol=0)


def test_alpha_is_that_of_diff_kendall():
    network = model(dropout=0.0)
    network.head.freeze = True
    with torch.no_grad():
        expected = diff_kendall(network(X), Y, alpha=2.5).item()
    history = train(network, X, Y, TrainingConfig(alpha=2.5, epochs=1, batch=0, learning_rate=0.0), 0)
    assert history == pytest.approx([expected], rel=1e-5)


def test_the_divergence_from_the_prior_enters_with_its_weight():
    network = model(dropout=0.0)
    network.head.freeze = True
    divergence = kl_divergence(network).item()
    assert divergence > 1
    settings = {"loss": "mse", "epochs": 1, "batch": 0, "learning_rate": 0.0}
    without = train(network, X, Y, TrainingConfig(**settings), 0)
    history = train(network, X, Y, TrainingConfig(**settings, kl_weight=0.5), 0)
    assert history[0] - without[0] == pytest.approx(0.5 * divergence / 24, rel=1e-4)


def test_the_divergence_draws_towards_the_prior():
    free, _ = trained(loss="mse", epochs=100)
    drawn, _ = trained(loss="mse", epochs=100, kl_weight=10.0)
    assert kl_divergence(drawn) < 0.5 * kl_divergence(free)


def factors(steps, **settings):
    """The learning rates that a schedule sets for each step, over the peak."""
    network = nn.Linear(1, 1)
    config = TrainingConfig(learning_rate=0.2, **settings)
    optimizer = _optimizer(network, config)
    schedule = _schedule(optimizer, config, steps)
    rates = []
    for _ in range(steps + 2):
        rates.append(optimizer.param_groups[0]["lr"] / 0.2)
        optimizer.step()
        schedule.step()
    return rates


def test_the_learning_rate_falls_as_a_cosine():
    root = math.sqrt(0.5)
    expected = [1, (1 + root) / 2, 0.5, (1 - root) / 2, 0, 0]
    assert factors(4) == pytest.approx(expected, abs=1e-12)


def test_the_learning_rate_rises_first_where_there_is_a_warmup():
    # 3 of 7 steps rise by a quarter each; the cosine then takes 4.
    root = math.sqrt(0.5)
    expected = [0.25, 0.5, 0.75, 1, (1 + root) / 2, 0.5, (1 - root) / 2, 0, 0]
    assert factors(7, warmup=3 / 7) == pytest.approx(expected, abs=1e-12)


def test_the_schedule_spans_all_steps_of_all_epochs(monkeypatch):
    seen = []

    def spy(optimizer, config, steps):
        seen.append(steps)
        return _schedule(optimizer, config, steps)

    monkeypatch.setattr("parzc.ranker.training._schedule", spy)
    trained(epochs=3, batch=10)
    trained(epochs=3, batch=0)
    # 24 architectures are three batches of at most ten.
    assert seen == [9, 3]


@pytest.mark.parametrize(("decoupled", "kind"), [(False, torch.optim.Adam), (True, torch.optim.AdamW)])
def test_the_optimizer_is_the_one_asked_for(decoupled, kind):
    optimizer = _optimizer(nn.Linear(1, 1), TrainingConfig(learning_rate=0.3, weight_decay=0.7, decoupled=decoupled))
    assert type(optimizer) is kind
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.3, 0.7)


def test_weight_decay_shrinks_the_weights():
    heavy, _ = trained(weight_decay=1.0, decoupled=True)
    free, _ = trained()
    assert heavy.head.weight_mu.norm() < 0.9 * free.head.weight_mu.norm()


def test_a_last_batch_of_one_is_no_obstacle():
    _, history = trained(batch=23)
    assert np.isfinite(history).all() and np.mean(history[-5:]) < np.mean(history[:5])


def test_an_unknown_loss_is_refused():
    with pytest.raises(InputError, match=r"^there is no loss 'hinge'; choose one of .*mse, or a sum of them$"):
        TrainingConfig(loss="hinge")


def test_losses_joined_by_a_plus_are_added():
    scores, targets = torch.tensor([0.3, -1.0, 0.9, 0.1]), torch.tensor([1.0, -1.0, 0.5, -0.5])
    both = _loss(TrainingConfig(loss="mse+diff_kendall", alpha=3.0))(scores, targets)
    torch.testing.assert_close(both, mse(scores, targets) + diff_kendall(scores, targets, alpha=3.0))
