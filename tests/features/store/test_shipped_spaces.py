"""The features of small spaces other than NAS-Bench-201 that come with the package."""

import numpy as np
import pytest
from helpers import CONVOLUTIONAL
from recomputed import assert_recomputed

from parzc.datasets import get_space
from parzc.features import ExtractionConfig, build_store, list_block_statistics, shipped
from parzc.ranker.presets import PRESETS

SPACE = get_space("transnas-micro")


@pytest.fixture(scope="module")
def store():
    return shipped("transnas-micro")


@pytest.fixture(scope="module")
def config(store):
    proxies = tuple(store.manifest["config"]["proxies"])
    return ExtractionConfig("transnas-micro", "class_scene@64", 8, "gaussian", 0, proxies)


def test_every_function_of_the_space_is_there(store):
    functions = {SPACE.canonical(arch) for arch in SPACE.archs()}
    assert set(store.archs) == functions and len(functions) == 1229


def test_the_files_are_small(store):
    assert sum(path.stat().st_size for path in store.path.iterdir()) < 5e6


def test_what_the_presets_read_is_there(store, config):
    assert store.manifest["config"] == config.manifest()
    table = store.read()
    assert set(table.scores) == set(CONVOLUTIONAL) - {"grasp"} == set(config.proxies)
    for preset in PRESETS.values():
        assert set(preset.statistics) <= set(table.statistics)
    assert list(table.block_statistics) == list_block_statistics()
    costs = [SPACE.cost(arch, "class_scene") for arch in table.archs[::200]]
    np.testing.assert_array_equal(table.scores["params"][::200], [cost.params for cost in costs])
    for i, arch in enumerate(table.archs):
        missing = {name for name, values in table.scores.items() if not np.isfinite(values[i])}
        assert missing == set(table.reasons.get(arch, {}))


def test_recomputing_gives_the_same_numbers(store, config, tmp_path):
    arch = store.archs[700]
    there, here = store.read([arch]), build_store(tmp_path, config, [arch], workers=1).read([arch])
    assert [there.names[i] for i in there.node] == [here.names[i] for i in here.node]
    assert there.reasons == here.reasons
    # The last batch norm makes the gradients of a batch sum to zero, and `knas` is their sum.
    assert_recomputed(here, there, rounding={"knas"})
