"""Extraction over spaces from outside the package: where workers find them, and nodes without a slot."""

import pytest
from choice_spaces import STAGED, build_plain

from parzc import Choices
from parzc.datasets import Slot
from parzc.errors import InputError
from parzc.features import ExtractionConfig, FeatureStore, build_store

CHEAP = ("params", "l2_norm")
SPACE = """
from parzc import Choices
from choice_spaces import build_plain

CHOICES = {"width": [4, 8, 16, 32], "kernel": [1, 3, 5], "skip": [False, True]}
space = Choices(build_plain, CHOICES, name="own", input_shape=(3, 8, 8))
"""
TABLE = {"width": [4, 8, 16, 32], "kernel": [1, 3, 5], "skip": [False, True]}


def config(space):
    return ExtractionConfig(space, "default", batch=2, proxies=CHEAP)


def test_a_space_of_this_session_works_in_this_process_alone(tmp_path):
    space = Choices(build_plain, TABLE, name="here", input_shape=(3, 8, 8))
    store = build_store(tmp_path / "one", config(space), space.archs(), workers=1)
    assert len(store) == 24 and "space_reference" not in store.manifest
    assert store.read().scores["params"].tolist() == [space.cost(arch).params for arch in store.archs]
    for options in ({"workers": 2}, {"workers": 1, "engine": "ray"}):
        with pytest.raises(InputError, match=r"no other process can find the space 'here', .* with 1 worker of this"):
            build_store(tmp_path / "two", config(space), space.archs(), **options)


def test_two_workers_find_an_object_of_a_module(tmp_path):
    archs = STAGED.sample(40, 0)  # more than one chunk
    store = build_store(tmp_path, ExtractionConfig(STAGED, "shapes@4", 2, proxies=CHEAP), archs, workers=2)
    assert store.manifest["space_reference"] == "choice_spaces:STAGED" and store.archs == tuple(sorted(archs))
    assert store.read().scores["params"].tolist() == [STAGED.cost(arch).params for arch in store.archs]


def test_a_file_that_is_gone_is_said_by_the_worker(tmp_path):
    path = tmp_path / "space.py"
    path.write_text(SPACE)
    work = config(f"{path}:space").extraction()
    assert work([work.space.archs()[0]]).archs == work.space.archs()[:1]
    there = type(work)(f"{tmp_path}/gone.py:space", work.task, 0, 1, CHEAP, work.inputs, None)
    with pytest.raises(
        InputError, match=r"^the process \d+ of .* cannot find the space: there is no file .*gone\.py on"
    ):
        there(["width=4,kernel=1,skip=True"])
    path.write_text("")


def test_a_store_is_continued_when_the_file_of_its_space_has_moved(tmp_path):
    for name, archs in (("a", 2), ("b", 5)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "space.py"
        path.write_text(SPACE)
        space = config(f"{path}:space").extraction().space
        store = build_store(tmp_path / "store", config(f"{path}:space"), space.archs()[:archs], workers=1)
    assert len(store) == 5 and store.manifest["space_reference"] == f"{tmp_path}/b/space.py:space"
    assert store.manifest["config"]["space"] == "own"


def test_a_node_without_a_slot_ends_the_extraction_at_the_first_chunk(tmp_path):
    slots = (Slot("0", "first", 0, 0), Slot("4", "head", 0, 1))
    space = Choices(build_plain, TABLE | {"kernel": [1, 3, 5, 7, 9]}, input_shape=(3, 8, 8), slots=slots)
    with pytest.raises(
        InputError,
        match=r"^the node '2' of width=\d+,.* fills no slot of build-plain, .* add Slot\('2', \.\.\.\) to the",
    ):
        build_store(tmp_path, config(space), space.archs(), workers=1)
    assert len(FeatureStore.open(tmp_path)) < len(space.archs())


def test_a_script_whose_import_starts_an_extraction_is_refused(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        SPACE + "from parzc.features import *\n"
        f"build_store('{tmp_path}/store', ExtractionConfig(space, 'default'), space.archs(), workers=1)\n"
    )
    with pytest.raises(
        InputError, match=r"script\.py cannot be imported: .* starts an extraction while it is imported"
    ):
        config(f"{path}:space").extraction()
    assert not (tmp_path / "store").exists()
