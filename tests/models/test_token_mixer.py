"""The token mixer: what reaches its scores and what is hidden from them."""

import pytest
import torch
from made_inputs import changed, token_inputs

from parzc.models.bayesian import sample_weights
from parzc.models.token_mixer import TokenMixer

TOKENS, CHANNELS, SCORES = 4, 3, 5


def mixer(scores=SCORES, **options):
    torch.manual_seed(0)
    return TokenMixer(TOKENS, CHANNELS, scores, **{"dim": 8, "depth": 2} | options).eval()


def rows(n=6, scores=SCORES):
    generator = torch.Generator().manual_seed(1)
    tokens, own = torch.randn(n, TOKENS, CHANNELS, generator=generator), torch.randn(n, scores, generator=generator)
    return token_inputs([tokens, own, torch.full((n, 3), torch.nan)])


@pytest.mark.parametrize("column", range(SCORES))
def test_a_hidden_score_changes_nothing_and_a_shown_one_does(column):
    model, inputs = mixer(), rows()
    shown = torch.ones(6, SCORES)
    shown[:3, column] = 0
    before = model.embed(inputs, shown)
    inputs.scores[:, column] += 2
    after = model.embed(inputs, shown)
    assert torch.equal(after[:3], before[:3])
    assert ((after[3:] - before[3:]).abs().amax(1) > 1e-4).all()


def test_a_hidden_score_is_not_a_score_of_zero():
    model, inputs = mixer(), rows()
    hidden = torch.ones(6, SCORES)
    hidden[:, 2] = 0
    inputs.scores[:, 2] = 0
    assert (model.embed(inputs) - model.embed(inputs, hidden)).abs().max() > 1e-4


def test_all_scores_are_shown_where_nothing_is_said():
    model, inputs = mixer(), rows()
    assert torch.equal(model.embed(inputs), model.embed(inputs, torch.ones(6, SCORES)))


def test_the_token_of_the_scores_by_hand():
    # Without mixing, the embedding is the mean over the normalised tokens of the places and that of the scores.
    model, inputs = mixer(depth=0), rows()
    tokens, scores = inputs.tokens, inputs.scores
    flags = torch.ones(6, SCORES)
    flags[1, 3] = 0
    linear = model.embed_scores
    last = torch.cat([scores * flags, flags], 1) @ linear.weight.T + linear.bias
    places = tokens @ model.embed_tokens.weight_mu.T + model.embed_tokens.bias_mu + model.place
    everything = torch.cat([places, last[:, None]], 1)
    centred = everything - everything.mean(2, keepdim=True)
    expected = (centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()).mean(1)
    torch.testing.assert_close(model.embed(inputs, flags), expected)
    head = expected @ model.head.weight_mu[0] + model.head.bias_mu
    torch.testing.assert_close(mixer_score(model, inputs, flags), head)


def mixer_score(model, inputs, flags):
    return model.head(model.embed(inputs, flags)).squeeze(-1)


def with_arch(inputs, places=7, summary=2, n=6):
    generator = torch.Generator().manual_seed(2)
    drawn = [torch.randn(n, columns, generator=generator) for columns in (places, summary)]
    return token_inputs([*inputs.parts.values(), *drawn, torch.zeros(n, 0)])


@pytest.mark.parametrize("part", ["places", "summary"])
def test_an_architecture_encoding_changes_the_scores_of_its_own_rows(part):
    model, inputs = mixer(arch=9), with_arch(rows())
    before = model(inputs)
    inputs.parts[part][:3] += 1
    after = model(inputs)
    assert torch.equal(after[3:], before[3:]) and ((after[:3] - before[:3]).abs() > 1e-4).all()


@pytest.mark.parametrize("count", [SCORES, 0])
def test_the_token_of_the_architecture_encoding_by_hand(count):
    # The last of all, behind that of the scores where there is one; block statistics do not enter.
    model, inputs = mixer(count, depth=0, arch=9), with_arch(rows(scores=count))
    tokens, scores, _, *arch = inputs.parts.values()
    places = tokens @ model.embed_tokens.weight_mu.T + model.embed_tokens.bias_mu + model.place
    linear = model.embed_arch
    everything = [places, (torch.cat(arch, 1) @ linear.weight.T + linear.bias)[:, None]]
    if count:
        own = torch.cat([scores, torch.ones_like(scores)], 1) @ model.embed_scores.weight.T + model.embed_scores.bias
        everything.insert(1, own[:, None])
    everything = torch.cat(everything, 1)
    assert everything.shape == (6, TOKENS + bool(count) + 1, 8)
    centred = everything - everything.mean(2, keepdim=True)
    expected = (centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()).mean(1)
    torch.testing.assert_close(model.embed(inputs), expected)
    torch.testing.assert_close(model(inputs), expected @ model.head.weight_mu[0] + model.head.bias_mu)


def test_the_architecture_encoding_is_mixed_with_the_other_tokens():
    with_it, without = mixer(arch=9, depth=1), mixer(depth=1)
    sizes = [[p.shape for p in model.blocks.parameters()] for model in (with_it, without)]
    assert sizes[0] != sizes[1]
    # A sixth token: the hidden layer across tokens is twice their number.
    assert (2 * (TOKENS + 2), TOKENS + 2) in [tuple(shape) for shape in sizes[0]]
    assert (2 * (TOKENS + 1), TOKENS + 1) in [tuple(shape) for shape in sizes[1]]


def test_an_architecture_encoding_without_columns_is_no_token():
    model, inputs = mixer(arch=0), rows()
    assert model.embed_arch is None
    assert torch.equal(model(with_arch(inputs, 0, 0)), mixer()(inputs))


def test_the_score_is_the_head_on_the_embedding():
    model, inputs = mixer(), rows()
    got = model(inputs)
    assert got.shape == (6,) and torch.equal(got, mixer_score(model, inputs, None))
    assert model.embed(inputs).shape == (6, 8)


def test_there_may_be_no_scores():
    model, inputs = mixer(scores=0), rows(scores=0)
    assert model.embed_scores is None and not any("embed_scores" in name for name in model.state_dict())
    got = model(inputs)
    assert got.shape == (6,) and got.unique().numel() == 6
    # One token fewer is mixed.
    assert len(mixer().state_dict()) == len(model.state_dict()) + 2


def test_each_row_is_scored_by_itself():
    model, inputs = mixer(), rows()
    alone = torch.cat([model(inputs[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(alone, model(inputs))


def test_the_same_token_elsewhere_is_another_network():
    model, inputs = mixer(), rows()
    elsewhere = changed(inputs, tokens=inputs.tokens.flip(1))
    assert (model(elsewhere) - model(inputs)).abs().max() > 1e-4


def test_the_first_and_the_last_layer_draw_weights():
    model, inputs = mixer(), rows()
    assert torch.equal(model(inputs), model(inputs))
    for layer in (model.embed_tokens, model.head):
        with sample_weights(layer, 0):
            assert not torch.equal(model(inputs), model(inputs))
