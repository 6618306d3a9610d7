"""The token mixer: what reaches its scores and what is hidden from them."""

import pytest
import torch

from parzc.models.bayesian import sample_weights
from parzc.models.token_mixer import TokenMixer

TOKENS, CHANNELS, SCORES = 4, 3, 5


def mixer(scores=SCORES, **options):
    torch.manual_seed(0)
    return TokenMixer(TOKENS, CHANNELS, scores, **{"dim": 8, "depth": 2} | options).eval()


def rows(n=6, scores=SCORES):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, TOKENS, CHANNELS, generator=generator), torch.randn(n, scores, generator=generator)


@pytest.mark.parametrize("column", range(SCORES))
def test_a_hidden_score_changes_nothing_and_a_shown_one_does(column):
    model, (tokens, scores) = mixer(), rows()
    shown = torch.ones(6, SCORES)
    shown[:3, column] = 0
    before = model.embed(tokens, scores, shown)
    changed = scores.clone()
    changed[:, column] += 2
    after = model.embed(tokens, changed, shown)
    assert torch.equal(after[:3], before[:3])
    assert ((after[3:] - before[3:]).abs().amax(1) > 1e-4).all()


def test_a_hidden_score_is_not_a_score_of_zero():
    model, (tokens, scores) = mixer(), rows()
    hidden = torch.ones(6, SCORES)
    hidden[:, 2] = 0
    zero = scores.clone()
    zero[:, 2] = 0
    assert (model.embed(tokens, zero) - model.embed(tokens, zero, hidden)).abs().max() > 1e-4


def test_all_scores_are_shown_where_nothing_is_said():
    model, (tokens, scores) = mixer(), rows()
    assert torch.equal(model.embed(tokens, scores), model.embed(tokens, scores, torch.ones(6, SCORES)))


def test_the_token_of_the_scores_by_hand():
    # Without mixing, the embedding is the mean over the normalised tokens of the places and that of the scores.
    model, (tokens, scores) = mixer(depth=0), rows()
    flags = torch.ones(6, SCORES)
    flags[1, 3] = 0
    linear = model.embed_scores
    last = torch.cat([scores * flags, flags], 1) @ linear.weight.T + linear.bias
    places = tokens @ model.embed_tokens.weight_mu.T + model.embed_tokens.bias_mu + model.place
    everything = torch.cat([places, last[:, None]], 1)
    centred = everything - everything.mean(2, keepdim=True)
    expected = (centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()).mean(1)
    torch.testing.assert_close(model.embed(tokens, scores, flags), expected)
    head = expected @ model.head.weight_mu[0] + model.head.bias_mu
    torch.testing.assert_close(mixer_score(model, tokens, scores, flags), head)


def mixer_score(model, tokens, scores, flags):
    return model.head(model.embed(tokens, scores, flags)).squeeze(-1)


def test_the_score_is_the_head_on_the_embedding():
    model, (tokens, scores) = mixer(), rows()
    got = model(tokens, scores, torch.full((6, 3), torch.nan))
    assert got.shape == (6,) and torch.equal(got, mixer_score(model, tokens, scores, None))
    assert model.embed(tokens, scores).shape == (6, 8)


def test_there_may_be_no_scores():
    model, (tokens, scores) = mixer(scores=0), rows(scores=0)
    assert model.embed_scores is None and not any("embed_scores" in name for name in model.state_dict())
    got = model(tokens, scores)
    assert got.shape == (6,) and got.unique().numel() == 6
    # One token fewer is mixed.
    assert len(mixer().state_dict()) == len(model.state_dict()) + 2


def test_each_row_is_scored_by_itself():
    model, (tokens, scores) = mixer(), rows()
    alone = torch.cat([model(tokens[i : i + 1], scores[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(alone, model(tokens, scores))


def test_the_same_token_elsewhere_is_another_network():
    model, (tokens, scores) = mixer(), rows()
    assert (model(tokens.flip(1), scores) - model(tokens, scores)).abs().max() > 1e-4


def test_the_first_and_the_last_layer_draw_weights():
    model, (tokens, scores) = mixer(), rows()
    assert torch.equal(model(tokens, scores), model(tokens, scores))
    for layer in (model.embed_tokens, model.head):
        with sample_weights(layer, 0):
            assert not torch.equal(model(tokens, scores), model(tokens, scores))
