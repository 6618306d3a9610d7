"""Extraction of many architectures: the same values whatever the workers, crashes and restarts."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import NO_ATTENTION
from tables import same

import parzc
from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.features import extract, list_proxies, list_statistics
from parzc.features.extraction.chunks import Extraction
from parzc.features.extraction.many_archs import ExtractionConfig, build_store, load_batch
from parzc.features.store import FeatureStore

SPACE = get_space("nb201")
CONFIG = ExtractionConfig("nb201", batch=4)
POOL, SKIP, NONE, SMALL = "avg_pool_3x3", "skip_connect", "none", "nor_conv_1x1"


def string(a, b, c, d, e, f):
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


DEAD = string(NONE, NONE, NONE, NONE, NONE, NONE)
DIRECT = string(NONE, NONE, NONE, SKIP, NONE, NONE)
# At most three small convolutions in each cell, so that each takes a few hundredths of a second.
ARCHS = [
    *(string(NONE, NONE, NONE, op, NONE, NONE) for op in (NONE, SKIP, POOL, SMALL)),
    *(
        string(NONE, b, NONE, d, NONE, f)
        for b in (POOL, SMALL)
        for d in (NONE, SKIP, POOL, SMALL)
        for f in (POOL, SMALL)
    ),
]
TWIN = string(NONE, NONE, NONE, SKIP, SMALL, POOL)
"""What comes after an empty node is zero, so this is `DIRECT` with dead parts."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The store that one undisturbed process makes."""
    return build_store(tmp_path_factory.mktemp("reference"), CONFIG, ARCHS, workers=1)


def test_the_store_holds_what_extract_gives(reference):
    table = reference.read([DIRECT, ARCHS[3]])
    assert list(table.statistics) == list_statistics() and list(table.scores) == list_proxies()
    inputs, labels = load_batch(CONFIG)
    assert labels is None
    for i, arch in enumerate(table.archs):
        features = extract(SPACE.network(arch, "cifar10", 0), inputs, seed=0)
        nodes = slice(table.offsets[i], table.offsets[i + 1])
        assert tuple(table.names[j] for j in table.node[nodes]) == features.nodes
        assert table.fields[nodes].tolist() == features.fields.tolist()
        assert len(features) == SPACE.cost(arch).n_layers
        for name, values in features.statistics.items():
            np.testing.assert_allclose(table.statistics[name][nodes], values, rtol=1e-5)
        for name, value in features.scores.items():
            assert table.scores[name][i] == pytest.approx(value, rel=1e-5, nan_ok=True)
        passed_on = {"trainability_published": "block 'cells.0' hands gradients on unchanged"} if arch == DIRECT else {}
        assert table.reasons[arch] == features.reasons == NO_ATTENTION | passed_on


def test_each_function_is_extracted_once(reference, tmp_path):
    assert [SPACE.canonical(arch) for arch in ARCHS] == ARCHS
    assert reference.archs == tuple(sorted(ARCHS))
    assert len(reference) == 20
    assert SPACE.canonical(TWIN) == SPACE.canonical(DIRECT) == DIRECT
    store = build_store(tmp_path, CONFIG, [TWIN, DIRECT, TWIN], workers=1)
    assert store.archs == (DIRECT,)
    assert same(store.read(), reference.read([DIRECT]))


def test_a_network_that_nothing_flows_through_is_kept_with_its_reasons(reference):
    table = reference.read([DEAD])
    why = "nothing flows from the input to the output"
    flows = {name: reason for name, reason in table.reasons[DEAD].items() if name.startswith("synflow")}
    assert flows == {"synflow": why, "synflow_bn": why}
    assert np.isnan([table.scores["synflow"][0], table.scores["synflow_bn"][0]]).all()
    assert table.scores["n_layers"][0] == 8


def test_the_number_of_workers_does_not_matter(reference, tmp_path):
    store = build_store(tmp_path, CONFIG, ARCHS[:10], workers=2)
    assert len(list(store.path.glob("shard-*"))) > 2, "both had something to do"
    assert same(store.read(), reference.read(sorted(ARCHS[:10])))


def test_what_is_there_is_not_extracted_again(reference, tmp_path, monkeypatch):
    build_store(tmp_path, CONFIG, ARCHS[:3], workers=1)
    extracted = []

    def watched(self, archs):
        extracted.extend(archs)
        return original(self, archs)

    original = Extraction.__call__
    monkeypatch.setattr(Extraction, "__call__", watched)
    assert same(build_store(tmp_path, CONFIG, ARCHS[:5], workers=1).read(), reference.read(sorted(ARCHS[:5])))
    assert sorted(extracted) == sorted(ARCHS[3:5])
    build_store(tmp_path, CONFIG, ARCHS[:5], workers=1)
    assert len(extracted) == 2


def test_the_thread_count_comes_back(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        build_store(tmp_path, CONFIG, [DEAD], workers=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


SLOW_EXTRACTION = """
import json
import sys

import parzc.features.extraction.many_archs as build

build.CHUNK = 1
build.build_store(sys.argv[1], build.ExtractionConfig("nb201", batch=4), json.loads(sys.argv[2]), workers=2)
"""


def test_a_killed_extraction_is_resumed(reference, tmp_path):
    archs = "[" + ",".join(f'"{arch}"' for arch in ARCHS[:10]) + "]"
    environment = os.environ | {"PYTHONPATH": str(Path(parzc.__file__).parents[1])}
    command = [sys.executable, "-c", SLOW_EXTRACTION, str(tmp_path), archs]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("shard-*")):
            assert process.poll() is None, "the extraction ended before it was killed"
            assert time.monotonic() < deadline, "no shard appeared"
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    left = FeatureStore.open(tmp_path)
    assert 0 < len(left) < 10
    assert same(left.read(), reference.read(left.archs))
    store = build_store(tmp_path, CONFIG, ARCHS[:10], workers=1)
    assert same(store.read(), reference.read(sorted(ARCHS[:10])))


def test_the_manifest_fixes_the_numbers(reference):
    assert reference.manifest["config"] == {
        "space": "nb201",
        "task": "cifar10",
        "batch": 4,
        "data": "gaussian",
        "seed": 0,
        "proxies": list_proxies(),
        "initialisation": "each module's own default, seeded by its name",
        "batches": 1,
    }
    assert list(reference.definitions) == list_proxies()


@pytest.mark.parametrize(
    "change", [{"batch": 8}, {"batches": 2}, {"seed": 1}, {"task": "cifar100"}, {"proxies": ("snip",)}]
)
def test_another_configuration_is_refused(reference, change):
    with pytest.raises(InputError, match=f"holds features of another configuration: {next(iter(change))}"):
        build_store(reference.path, replace(CONFIG, **change), [DEAD], workers=1)


def test_only_the_proxies_asked_for_are_extracted_in_their_usual_order(tmp_path):
    store = build_store(tmp_path, replace(CONFIG, proxies=("l2_norm", "flops")), [DIRECT], workers=1)
    assert list(store.read().scores) == ["flops", "l2_norm"]
    assert list(store.read().statistics) == ["l2_norm"]
    assert store.read().scores["flops"].tolist() == [7_783_050]


def test_gaussian_inputs_are_those_of_the_seed():
    inputs, labels = load_batch(replace(CONFIG, seed=3, task="imagenet16"))
    expected = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    assert torch.equal(inputs, expected)
    assert labels is None


def test_batches_are_cut_from_inputs_drawn_at_once():
    inputs, labels = load_batch(replace(CONFIG, batch=3, batches=4, seed=3))
    assert torch.equal(inputs, load_batch(replace(CONFIG, batch=12, seed=3))[0])
    assert inputs.shape == (12, 3, 32, 32) and labels is None


def test_batches_are_extracted_one_after_the_other(tmp_path):
    config = replace(CONFIG, batch=2, batches=2, seed=3)
    table = build_store(tmp_path, config, [ARCHS[4]], workers=1).read()
    assert config.manifest()["batches"] == table.definitions["snip"]["batches"] == 2
    assert list(table.definitions) == list(table.scores) == list_proxies()
    features = parzc.extract(SPACE.network(ARCHS[4], "cifar10", 3), load_batch(config)[0], seed=3, batches=2)
    assert dict(table.reasons.get(ARCHS[4], {})) == dict(features.reasons)
    assert {name: values[0] for name, values in table.scores.items()} == pytest.approx(
        dict(features.scores), rel=1e-5, nan_ok=True
    )
    assert table.blocks.tolist() == list(features.blocks) != []
    for own, expected in (
        (table.statistics, features.statistics),
        (table.block_statistics, features.block_statistics),
    ):
        assert list(own) == list(expected) != []
        for name, values in own.items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-30, err_msg=name)
    whole = parzc.extract(SPACE.network(ARCHS[4], "cifar10", 3), load_batch(config)[0], seed=3)
    assert {"zico", "snip", "nwot"} <= {k for k, v in features.scores.items() if v != pytest.approx(whole.scores[k])}


@pytest.mark.parametrize("name", ["batch", "batches"])
@pytest.mark.parametrize("n", [0, -1])
def test_no_inputs_at_all_are_refused(name, n):
    with pytest.raises(InputError, match=f"^{name} {n} is no number of inputs; give at least 1$"):
        ExtractionConfig("nb201", **{name: n})


def test_seconds_of_every_pass_and_proxy_are_recorded(reference, tmp_path):
    expected = extract(SPACE.network(DIRECT), load_batch(CONFIG)[0]).seconds
    assert set(list_proxies()) < set(reference.seconds) == set(expected)
    assert all(0 < seconds < 10 for seconds in reference.seconds.values())
    files = [json.loads(path.read_text()) for path in reference.path.glob("seconds-*")]
    assert sorted(file["archs"] for file in files) == [4] * 5
    total = sum(file["seconds"]["forward"] for file in files)
    assert reference.seconds["forward"] == pytest.approx(total / 20, rel=1e-9)
    few = build_store(tmp_path, replace(CONFIG, batches=2, proxies=("zico", "params")), [DIRECT], workers=1)
    assert set(few.seconds) == {"forward", "gradients", "zico", "params"}


def test_seed_and_task_reach_the_network(tmp_path):
    config = replace(CONFIG, seed=3, task="imagenet16", proxies=("params", "l2_norm", "snip"))
    table = build_store(tmp_path, config, [DIRECT], workers=1).read()
    features = extract(SPACE.network(DIRECT, "imagenet16", 3), *load_batch(config), list(config.proxies), seed=3)
    assert {name: values[0] for name, values in table.scores.items()} == pytest.approx(dict(features.scores), rel=1e-5)
    assert features.scores["params"] == 73_306 + 110 * 65


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"space": "nb999"}, "there is no search space 'nb999'"),
        ({"task": "mnist"}, "nb201 has no task 'mnist'"),
        ({"proxies": ("nonsense",)}, "there is no proxy 'nonsense'"),
    ],
)
def test_an_unknown_name_is_refused(tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence):
        build_store(tmp_path / "store", replace(CONFIG, **change), [DEAD], workers=1)


def test_an_arch_that_is_not_in_the_space_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="'resnet' is not an nb201 arch"):
        build_store(tmp_path / "store", CONFIG, [DEAD, "resnet"], workers=1)
    assert not (tmp_path / "store").exists()


@pytest.fixture
def images(tmp_path):
    """Five images and labels, of which four are taken."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    labels = np.array([3, 0, 9, 1, 2])
    np.savez(tmp_path / "images.npz", x_train=pixels, y_train=labels)
    return tmp_path / "images.npz", pixels, labels


def test_images_are_scaled_and_come_with_their_labels(images):
    path, pixels, labels = images
    inputs, taken = load_batch(replace(CONFIG, data=str(path)))
    assert inputs.shape == (4, 3, 32, 32) and inputs.dtype == torch.float32
    assert inputs[1, 2, 5, 7].item() == pytest.approx((pixels[1, 5, 7, 2] / 255 - 0.5) / 0.25, rel=1e-5)
    np.testing.assert_allclose(inputs.numpy(), (pixels[:4].transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25, atol=1e-5)
    assert taken.tolist() == labels[:4].tolist() and taken.dtype == torch.int64
    for whole, cut in zip(
        (inputs, taken), load_batch(replace(CONFIG, batch=2, batches=2, data=str(path))), strict=True
    ):
        assert torch.equal(whole, cut)
    with pytest.raises(InputError, match=r"of shape \(5, 32, 32, 3\), but cifar10 takes unsigned bytes of shape \(6, "):
        load_batch(replace(CONFIG, batch=2, batches=3, data=str(path)))


def test_images_are_used_and_known_by_their_content(images, tmp_path):
    path, _, _ = images
    config = replace(CONFIG, data=str(path), proxies=("snip",))
    inputs, labels = load_batch(config)
    store = build_store(tmp_path / "store", config, [DIRECT], workers=1)
    expected = extract(SPACE.network(DIRECT), inputs, labels, ["snip"]).scores["snip"]
    assert store.read().scores["snip"][0] == pytest.approx(expected, rel=1e-5)
    digest = hashlib.sha256(inputs.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()[:16]
    assert store.manifest["config"]["data"] == f"sha256:{digest}"
    # The same content elsewhere is the same configuration; other content is not.
    path.rename(tmp_path / "moved.npz")
    moved = replace(config, data=str(tmp_path / "moved.npz"))
    assert build_store(tmp_path / "store", moved, [DIRECT], workers=1).archs == (DIRECT,)
    np.savez(tmp_path / "other.npz", x_train=np.zeros((4, 32, 32, 3), np.uint8), y_train=np.zeros(4, int))
    with pytest.raises(InputError, match="another configuration: data is 'sha256:"):
        build_store(tmp_path / "store", replace(config, data=str(tmp_path / "other.npz")), [DIRECT], workers=1)


PIXELS, LABELS = np.zeros((4, 32, 32, 3), np.uint8), np.arange(4)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x_train": PIXELS}, r"cannot read images from .*bad\.npz: .*y_train.*give an \.npz with x_train and y_train"),
        (
            {"x_train": PIXELS[:3], "y_train": LABELS},
            r"are uint8 of shape \(3, 32, 32, 3\), but cifar10 takes .*\(4, 32",
        ),
        ({"x_train": PIXELS[:, :16], "y_train": LABELS}, r"of shape \(4, 16, 32, 3\), but cifar10"),
        ({"x_train": PIXELS / 255, "y_train": LABELS}, r"are float64 of shape .*takes unsigned bytes"),
        (
            {"x_train": PIXELS, "y_train": LABELS[:2]},
            r"labels of .*int64 of shape \(2,\), but one class index is needed",
        ),
        ({"x_train": PIXELS, "y_train": LABELS[:, None]}, r"int64 of shape \(4, 1\), but one class index"),
        ({"x_train": PIXELS, "y_train": LABELS / 2}, r"float64 of shape \(4,\), but one class index"),
        ({"x_train": PIXELS, "y_train": LABELS + 7}, r"range from 7 to 10, but cifar10 has classes 0 to 9"),
        ({"x_train": PIXELS, "y_train": LABELS - 1}, r"range from -1 to 2, but cifar10 has classes 0 to 9"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, arrays, sentence):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=sentence):
        build_store(tmp_path / "store", replace(CONFIG, data=str(tmp_path / "bad.npz")), [DEAD], workers=1)
    assert not (tmp_path / "store").exists()


def an_archive_cut_short(path):
    np.savez(path, x_train=PIXELS, y_train=LABELS)
    path.write_bytes(path.read_bytes()[:200])


def a_single_array(path):
    with path.open("wb") as stream:
        np.save(stream, PIXELS)


UNREADABLE = {
    "absent": lambda _: None,
    "a folder": Path.mkdir,
    "empty": Path.touch,
    "text": lambda path: path.write_text("x_train"),
    "an archive cut short": an_archive_cut_short,
    "a single array": a_single_array,
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_file_that_is_no_archive_is_refused(tmp_path, kind):
    UNREADABLE[kind](tmp_path / "images.npz")
    sentence = r"^cannot read images from .*images\.npz: .*; give an \.npz with x_train and y_train$"
    with pytest.raises(InputError, match=sentence):
        load_batch(replace(CONFIG, data=str(tmp_path / "images.npz")))
