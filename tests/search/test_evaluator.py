"""What is measured of candidates, once, and what is said of those that cannot be measured."""

import numpy as np
import pytest
from choice_spaces import PLAIN
from torch import nn

from parzc import Choices, InputError
from parzc.datasets import Slot, get_space
from parzc.features import FeatureStore, shipped
from parzc.search import Budget, Pool
from parzc.search import evaluator as module
from parzc.search.evaluator import Evaluator

NB201 = get_space("nb201")
SLOTS = (Slot("1", "first", 0, 0), Slot("3", "second", 0, 1))
PROXIES = ("nwot", "synflow")


@pytest.fixture
def measured(monkeypatch):
    """The architectures that each call measured."""
    calls, build = [], module.build_store
    monkeypatch.setattr(module, "build_store", lambda path, config, archs, *rest: [
        calls.append(list(archs)), build(path, config, archs, *rest)
    ][1])  # fmt: skip
    return calls


def test_what_comes_with_the_space_is_read_and_nothing_is_measured(tmp_path, measured):
    archs = [NB201.archs()[i] for i in (15000, 3, 777, 3)]
    table = Evaluator(NB201, folder=tmp_path / "own").features(archs)
    expected = shipped("nb201").read([NB201.canonical(arch) for arch in archs])
    assert table.archs == tuple(archs)
    assert np.array_equal(table.scores["nwot"], expected.scores["nwot"], equal_nan=True)
    assert not measured and not (tmp_path / "own").exists()


def test_what_no_store_has_is_measured_once_and_kept(tmp_path, measured):
    archs = PLAIN.archs()
    one = Evaluator(PLAIN, folder=tmp_path, proxies=PROXIES)
    first = one.features(archs[:2])
    again = one.features([archs[2], archs[0]])
    assert measured == [[archs[0], archs[1]], [archs[2]]] and set(PROXIES) <= {*first.scores, *first.statistics}
    assert again.archs == (archs[2], archs[0]) and again.scores["nwot"][1] == first.scores["nwot"][0]
    other = Evaluator(PLAIN, folder=tmp_path, proxies=PROXIES)
    assert other.is_measured(archs[:4]) == [True, True, True, False]
    assert (other.features(archs[:3]).scores["nwot"][:2] == first.scores["nwot"]).all() and len(measured) == 2
    assert FeatureStore.open(tmp_path).archs == tuple(sorted(archs[:3]))


def test_without_a_folder_it_is_kept_as_long_as_the_search(measured):
    one = Evaluator(PLAIN, proxies=PROXIES)
    values = [one.features(PLAIN.archs()[:1]).scores["nwot"][0] for _ in range(2)]
    assert values[0] == values[1] and len(measured) == 1


def test_a_store_that_is_given_is_read_and_never_written(tmp_path, measured):
    archs = PLAIN.archs()
    given = Evaluator(PLAIN, folder=tmp_path / "given", proxies=PROXIES)
    values = given.features(archs[:2]).scores["nwot"]
    one = Evaluator(PLAIN, folder=tmp_path / "own", features=tmp_path / "given")
    table = one.features([archs[2], archs[1], archs[0]])
    assert measured[1:] == [[archs[2]]] and list(table.scores["nwot"][1:]) == list(values[::-1])
    assert len(FeatureStore.open(tmp_path / "given").archs) == 2 and len(FeatureStore.open(tmp_path / "own").archs) == 1
    # It is measured as the given ones were.
    assert {*table.scores, *table.statistics} == {
        *given.features(archs[:1]).scores,
        *given.features(archs[:1]).statistics,
    }
    with pytest.raises(InputError, match="holds features of build-plain; give a store of nb201"):
        Evaluator(NB201, features=tmp_path / "given")


def build(width, broken):
    if broken:
        raise ValueError("no such layer")
    return nn.Sequential(nn.Flatten(), nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))


def test_what_cannot_be_measured_is_named_and_not_asked_for(capsys):
    space = Choices(
        build, {"width": [2, 3, 4, 5], "broken": [False, True]}, input_shape=(1, 2, 2), classes=2, slots=SLOTS
    )
    one = Evaluator(space, proxies=("nwot",), progress=True)
    pool = Pool(space, Budget(space), evaluator=one)
    assert len(pool.archs()) == 8
    table = pool.features(["width=2,broken=True", "width=3,broken=False"])
    assert table.archs == ("width=3,broken=False",)
    assert list(one.failed) == ["width=2,broken=True"] and "no such layer" in one.failed["width=2,broken=True"]
    assert "'width=2,broken=True' cannot be measured and is not asked for" in capsys.readouterr().err
    assert not pool.is_new("width=2,broken=True") and len(pool.archs()) == 7
    assert "width=2,broken=True" not in pool.draw(8, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"none of 1 architectures of build can be measured: .*no such layer"):
        pool.features(["width=2,broken=True"])
