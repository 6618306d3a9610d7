"""Which networks a ranker names to be trained next."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import TEST

from parzc.errors import InputError
from parzc.ranker.acquisition import q_expected_improvement, variance_reduction


def test_suggestions_are_those_of_the_gaussian_process(ranker):
    posterior = ranker.ensemble_.members_[2].posterior(ranker._inputs(TEST))
    expected = variance_reduction(posterior, 5, ranker.seed)
    assert ranker.suggest(TEST, 5) == expected and len(set(expected)) == 5
    assert ranker.suggest(TEST, 2) == expected[:2]
    assert sorted(ranker.suggest(TEST, 60)) == list(range(60))


def test_the_best_one_is_sought_among_what_scores_best(ranker, monkeypatch):
    scores, process = ranker.predict(TEST), ranker.ensemble_.members_[2]
    covariance = process.posterior(ranker._inputs(TEST)).covariance().numpy() / ranker.ensemble_.scale_[2] ** 2
    expected = q_expected_improvement(scores, covariance, 5, ranker.seed)
    assert ranker.suggest(TEST, 5, "best") == expected and expected[0] == scores.argmax()
    few = replace(ranker.preset_.acquisition, shortlist=6)
    monkeypatch.setattr(ranker, "preset_", replace(ranker.preset_, acquisition=few))
    assert set(ranker.suggest(TEST, 6, "best")) == {*np.argsort(-scores)[:6]}
    with pytest.raises(InputError, match=r"^networks cannot be suggested for 'speed'; choose one of ranking, best$"):
        ranker.suggest(TEST, 1, "speed")


@pytest.mark.parametrize("n", [-1, 0, 61])
def test_a_number_that_cannot_be_suggested_is_refused(ranker, n):
    with pytest.raises(InputError, match=rf"^cannot suggest {n} of 60 networks; ask for 1 to 60$"):
        ranker.suggest(TEST, n)


def test_without_a_gaussian_process_nothing_is_suggested(paper):
    sentence = "^preset 'paper' has no Gaussian process to suggest networks with; use 'default'$"
    with pytest.raises(InputError, match=sentence):
        paper.suggest(TEST, 1)


def test_of_many_candidates_some_are_drawn(ranker, monkeypatch):
    few = replace(ranker.preset_.acquisition, candidates=10)
    monkeypatch.setattr(ranker, "preset_", replace(ranker.preset_, acquisition=few))
    drawn = sorted(np.random.default_rng(ranker.seed).permutation(60)[:10])
    expected = variance_reduction(ranker.ensemble_.members_[2].posterior(ranker._inputs(TEST[drawn])), 3, ranker.seed)
    assert ranker.suggest(TEST, 3) == [drawn[i] for i in expected]
    assert len(set(ranker.suggest(TEST, 30))) == 30
