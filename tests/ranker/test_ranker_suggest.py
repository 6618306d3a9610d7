"""Which networks a ranker names to be trained next."""

import numpy as np
import pytest
from helpers import TEST

from parzc.errors import InputError
from parzc.ranker.acquisition import q_expected_improvement


def test_suggestions_are_those_of_the_gaussian_process(ranker):
    expected = ranker.ensemble_.members_[2].most_informative(ranker._inputs(TEST), 5, ranker.seed)
    assert ranker.suggest(TEST, 5) == expected and len(set(expected)) == 5
    assert ranker.suggest(TEST, 2) == expected[:2]
    assert sorted(ranker.suggest(TEST, 60)) == list(range(60))


def test_the_best_one_is_sought_among_what_scores_best(ranker, monkeypatch):
    scores, process = ranker.predict(TEST), ranker.ensemble_.members_[2]
    covariance = process.covariance(*ranker._inputs(TEST)).numpy() / ranker.ensemble_.scale_[2] ** 2
    expected = q_expected_improvement(scores, covariance, 5, ranker.seed)
    assert ranker.suggest(TEST, 5, "best") == expected and expected[0] == scores.argmax()
    monkeypatch.setattr("parzc.ranker.estimator.SHORTLIST", 6)
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
