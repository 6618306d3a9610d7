"""Scores: a proxy, ranks of several, a saved ranker; what is undefined comes last."""

import numpy as np
import pytest
from helpers import SMALL

from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.features import shipped
from parzc.ranker import Ranker
from parzc.search.scores import AGGREGATIONS, get_score

NB201 = get_space("nb201")


@pytest.fixture(scope="module")
def features():
    archs = [NB201.canonical(arch) for arch in NB201.sample(60, 1)]
    return shipped("nb201").read(list(dict.fromkeys(archs)))


def ranks(values):
    """Mean ranks from 1, counted one by one; what is undefined is lowest."""
    plain = [-np.inf if np.isnan(value) else value for value in values]
    return [sum(o < v for o in plain) + (1 + sum(o == v for o in plain)) / 2 for v in plain]


def test_a_proxy_is_turned_so_that_bigger_is_better(features):
    up, down = get_score("synflow", NB201), get_score("ntk", NB201)
    assert np.array_equal(up.values(up.measured(features)), np.nan_to_num(features.scores["synflow"], nan=-np.inf))
    ntk = features.scores["ntk"]
    values = down.values(down.measured(features))
    assert np.isnan(ntk).any() and (values[np.isnan(ntk)] == -np.inf).all()
    assert np.array_equal(values[~np.isnan(ntk)], -ntk[~np.isnan(ntk)])


@pytest.mark.parametrize(("name", "proxies", "signs"), [
    ("az_nas", AGGREGATIONS["az_nas"], (1, 1, 1, 1)), ("ntk+ nwot", ("ntk", "nwot"), (-1, 1)),
])  # fmt: skip
def test_several_are_joined_by_the_logarithms_of_their_ranks(features, name, proxies, signs):
    score = get_score(name, NB201)
    columns = [sign * features.scores[proxy] for sign, proxy in zip(signs, proxies, strict=True)]
    assert score.proxies == proxies
    expected = sum(np.log(np.array(ranks(column)) / len(features)) for column in columns)
    # Networks without any value come behind those that have the lowest ranks.
    expected[np.isnan(columns).all(0)] = -np.inf
    np.testing.assert_allclose(score.values(score.measured(features)), expected, rtol=1e-12)


def test_what_is_kept_of_a_network_does_not_depend_on_others(features):
    score = get_score("az_nas", NB201)
    whole = score.measured(features)
    assert np.array_equal(score.measured(features[3:5]), whole[3:5], equal_nan=True)
    assert not np.array_equal(score.values(whole[3:5]), score.values(whole)[3:5])


def test_a_saved_ranker_is_a_score(features, tmp_path):
    labels = np.nan_to_num(features.scores["n_layers"])
    ranker = Ranker("default", "nb201", settings=SMALL).fit(features[:20], labels[:20])
    ranker.save(tmp_path / "ranker")
    score = get_score(str(tmp_path / "ranker"), NB201)
    assert np.array_equal(score.values(score.measured(features)), ranker.predict(features))
    assert not score.of_any_network and set(ranker.preset_.statistics) <= set(score.proxies)
    with pytest.raises(InputError, match="is of the space nb201, not of darts"):
        get_score(str(tmp_path / "ranker"), get_space("darts"))


@pytest.mark.parametrize(("name", "message"), [
    ("nwto", "there is no score 'nwto'; .*do you mean 'nwot'"), ("nwot+", "there is no score ''"),
    ("aznas", "do you mean 'az_nas'"),
])  # fmt: skip
def test_a_score_that_does_not_exist_is_refused_in_one_sentence(name, message):
    with pytest.raises(InputError, match=message):
        get_score(name, NB201)


def test_a_folder_without_a_ranker_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no ranker"):
        get_score(str(tmp_path), NB201)
