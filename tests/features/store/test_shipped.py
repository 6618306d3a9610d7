"""The features that come with the package are whole, small, and those that the code computes."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import CONVOLUTIONAL
from recomputed import assert_recomputed

from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.features import ExtractionConfig, build_store, list_block_statistics, list_proxies, list_statistics, shipped
from parzc.ranker.presets import PRESETS

SPACE = get_space("nb201")
ARCHS = [
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    "|none~0|+|none~0|none~1|+|avg_pool_3x3~0|none~1|none~2|",
    "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|",
    "|nor_conv_1x1~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|",
]
"""Nothing, no weights in the cells, one convolution, three of both sizes with a skip and a pooling."""

LEFT_OUT = {"nasi", "gsnr_mean", "gsnr_variance", "xi_gsnr_variance"}
"""Statistics that are squares of `grad_norm`, or rows of an ablation: they would take the files over 25 MB."""


@pytest.fixture(scope="module")
def store():
    return shipped("nb201")


@pytest.fixture(scope="module")
def grasp():
    return shipped("nb201-grasp")


@pytest.fixture(scope="module")
def config(store):
    """The configuration that the manifest records."""
    record = store.manifest["config"]
    kept = {key: record[key] for key in ("space", "task", "batch", "data", "seed")}
    return ExtractionConfig(**kept, proxies=tuple(record["proxies"]))


def test_every_function_of_the_space_is_there(store):
    assert len(store) == 4930
    assert set(store.archs) == {SPACE.canonical(arch) for arch in SPACE.archs()}


def test_the_files_are_small(store, grasp):
    sizes = [path.stat().st_size for each in (store, grasp) for path in each.path.iterdir()]
    assert 1e6 < sum(sizes) <= 25e6 and max(sizes) < 5e6


def test_the_manifest_says_what_was_computed(store, config):
    assert store.manifest["config"] == config.manifest()
    assert {name: dict(definition) for name, definition in store.definitions.items()} == config.definitions()
    assert config == ExtractionConfig("nb201", "cifar10", batch=16, data="gaussian", seed=0, proxies=config.proxies)


def test_every_statistic_and_every_proxy_that_a_preset_reads_is_there(store, config):
    table = store.read()
    assert list(table.scores) == list(config.proxies) == [name for name in CONVOLUTIONAL if name != "grasp"]
    assert set(list_statistics()) & set(CONVOLUTIONAL) - set(table.statistics) == {"grasp", *LEFT_OUT}
    read = {name for preset in PRESETS.values() for name in (*preset.statistics, *preset.scores)}
    assert read <= set(config.proxies) <= set(list_proxies())
    layers = [SPACE.cost(arch).n_layers for arch in table.archs]
    np.testing.assert_array_equal(table.scores["n_layers"], layers)
    np.testing.assert_array_equal(np.diff(table.offsets), layers)
    np.testing.assert_array_equal(table.scores["params"], [SPACE.cost(arch).params for arch in table.archs])
    np.testing.assert_array_equal(table.scores["flops"], [SPACE.cost(arch).macs for arch in table.archs])


def test_a_value_is_missing_where_there_is_a_reason_only(store):
    table = store.read()
    for i, arch in enumerate(table.archs):
        missing = {name for name, values in table.scores.items() if not np.isfinite(values[i])}
        assert missing == set(table.reasons.get(arch, {}))
    assert {"synflow", "synflow_bn", "expressivity", "jacob_cov", "zico"} <= set(table.reasons[ARCHS[0]])
    assert len(table.reasons) < 50


def test_the_blocks_of_every_network_are_there(store):
    """What enters the first cell, fifteen cells, two reductions."""
    table = store.read()
    assert list(table.block_statistics) == list_block_statistics()
    whole = np.isfinite(table.scores["expressivity"])
    np.testing.assert_array_equal(np.diff(table.block_offsets), np.where(whole, 18, 0))
    for i in np.flatnonzero(whole)[::500]:
        own = slice(table.block_offsets[i], table.block_offsets[i + 1])
        assert table.blocks[own][0] == "input of cells.0" and table.blocks[own][-1] == "cells.16"
        entropy, trainability = (table.block_statistics[name][own] for name in ("expressivity", "trainability"))
        assert entropy.sum() == pytest.approx(table.scores["expressivity"][i], rel=1e-5)
        assert np.diff(entropy).min() == pytest.approx(table.scores["progressivity"][i], abs=1e-5)
        assert trainability[1:].mean() == pytest.approx(table.scores["trainability"][i], rel=1e-4)


def test_the_seconds_of_every_pass_and_proxy_are_there(store, config):
    assert set(config.proxies) | {"forward", "gradients", "samples", "blocks"} <= set(store.seconds)
    assert 0.05 < sum(store.seconds.values()) < 5


def test_recomputing_gives_the_same_numbers(store, config, tmp_path):
    assert [SPACE.canonical(arch) for arch in ARCHS] == ARCHS
    there, here = store.read(ARCHS), build_store(tmp_path, config, ARCHS, workers=1).read(ARCHS)
    assert [there.names[i] for i in there.node] == [here.names[i] for i in here.node]
    np.testing.assert_array_equal(there.fields, here.fields)
    assert there.reasons == here.reasons and list(there.reasons) == [ARCHS[0]]
    assert_recomputed(here, there)
    assert np.isneginf(there.statistics["synflow"]).any() and np.isnan(there.scores["synflow"][0])


def test_two_thousand_functions_have_grasp_too(store, grasp):
    functions = sorted({SPACE.canonical(arch) for arch in SPACE.archs()})
    drawn = np.random.default_rng(0).choice(len(functions), 2000, replace=False)
    assert set(grasp.archs) == {functions[i] for i in drawn}
    assert grasp.manifest["config"] == {**store.manifest["config"], "proxies": ["grasp"]}
    table, others = grasp.read(), store.read(grasp.archs)
    np.testing.assert_array_equal(table.offsets, others.offsets)
    np.testing.assert_array_equal(table.fields, others.fields)
    assert np.isfinite(table.scores["grasp"]).all() and not table.reasons
    sums = np.add.reduceat(table.statistics["grasp"].astype(np.float64), table.offsets[:-1])
    np.testing.assert_allclose(sums, table.scores["grasp"], rtol=1e-4, atol=1e-4 * np.abs(sums).max())


def test_recomputing_grasp_gives_the_same_numbers(grasp, config, tmp_path):
    archs = grasp.archs[:: len(grasp) // 2][:2]
    there = grasp.read(archs)
    here = build_store(tmp_path, replace(config, proxies=("grasp",)), archs, workers=1).read(archs)
    size = np.abs(there.statistics["grasp"]).max()
    # A second derivative of a network in single precision.
    np.testing.assert_allclose(here.statistics["grasp"], there.statistics["grasp"], rtol=2e-2, atol=1e-3 * size)


def test_a_space_without_features_is_named():
    with pytest.raises(InputError, match=r"^no features of nb999 come with parzc; extract them with python -m parzc"):
        shipped("nb999")
