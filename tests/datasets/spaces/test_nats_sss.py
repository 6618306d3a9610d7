"""The size space of NATS-Bench: the counts and labels of genuine records, and the notation."""

import bz2
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.datasets import get_space, load_table
from parzc.datasets.spaces.nats_sss import SizedCell
from parzc.datasets.tables import _unpickle, nats_bench
from parzc.errors import InputError

SPACE = get_space("nats-sss")
DIRECTORY = "nats_samples/NATS-sss-v1_0-50262-simple"
NAMES = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "imagenet16"}


def test_counts_of_genuine_records(data_dir):
    seen = 0
    for file in sorted((data_dir / DIRECTORY).glob("0*.pickle.pbz2")):
        with bz2.open(file) as stream:
            record = _unpickle.load(stream, nats_bench.ALLOWED, file=file.name)["90"]
        for (dataset, _), run in record["all_results"].items():
            if dataset in NAMES:
                cost = SPACE.cost(record["arch_str"], NAMES[dataset])
                assert (cost.params / 1e6, cost.macs / 1e6) == (run["params"], pytest.approx(run["flop"], abs=1e-9))
                seen += 1
    assert seen == 9


def test_labels_of_genuine_records(data_dir):
    table = load_table(data_dir / DIRECTORY, space=SPACE, target="cifar10_test")
    assert table.archs == ("8:8:8:8:8", "8:8:8:16:32", "8:8:40:32:40")
    assert table.labels.tolist() == [79.79, 85.77, 89.51]
    assert table.columns == tuple(nats_bench.COLUMNS)


def test_the_space_is_complete_and_in_the_official_order(data_dir):
    archs = SPACE.archs()
    assert SPACE.size == len(set(archs)) == 32_768
    assert set(archs) == {":".join(p) for p in itertools.product(map(str, range(8, 65, 8)), repeat=5)}
    with bz2.open(data_dir / DIRECTORY / "meta.pickle.pbz2") as stream:
        meta = _unpickle.load(stream, nats_bench.ALLOWED, file="meta")
    assert list(archs) == meta["meta_archs"]


@pytest.mark.parametrize("c_out", [4, 6])
def test_a_cell_has_weights_in_its_skip_where_the_channels_change(c_out):
    cell = SizedCell(4, c_out)
    x = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))

    def normalised(z):
        variance, mean = torch.var_mean(z, (0, 2, 3), correction=0, keepdim=True)
        return (z - mean) / (variance + 1e-5).sqrt()

    def conv(edge, value):
        return normalised(F.conv2d(value.relu(), cell.edges[edge].conv.weight, padding=1))

    # No ReLU stands before the convolution of the skip.
    skip = x if c_out == 4 else normalised(F.conv2d(x, cell.edges["0-3"].conv.weight))
    first = conv("0-1", x)
    second = conv("0-2", x) + conv("1-2", first)
    torch.testing.assert_close(cell(x), skip + conv("1-3", first) + conv("2-3", second))


def test_slots_have_their_place():
    layers = SPACE.network("8:16:24:32:64").named_modules()
    assert [slot.name for slot in sorted(SPACE.slots, key=lambda slot: slot.name)] == sorted(
        name for name, module in layers if isinstance(module, nn.Conv2d | nn.Linear)
    )
    where = {slot.name: (slot.edge, slot.stage, slot.depth) for slot in SPACE.slots}
    assert where["cells.1.shortcut.1"] == ("reduction_shortcut", 1, 1)
    assert where["cells.4.edges.0-3.conv"] == ("0-3", 2, 4)


def test_graph_is_the_chain_of_channels():
    graph = SPACE.graph("8:16:24:32:64")
    assert graph.operations == ("input", "8", "16", "24", "32", "64", "output")
    assert {(int(i), int(j)) for i, j in zip(*graph.adjacency.nonzero(), strict=True)} == {(i, i + 1) for i in range(6)}


def test_a_mutation_changes_one_layer_to_any_other_choice():
    changes = set()
    for seed in range(400):
        other = SPACE.parse(SPACE.mutate("8:16:24:32:64", seed))
        places = [(i, new) for i, (old, new) in enumerate(zip((8, 16, 24, 32, 64), other, strict=True)) if old != new]
        assert len(places) == 1
        changes |= set(places)
    assert len(changes) == 5 * 7


@pytest.mark.parametrize(
    "arch", ["", 8, None, "8:8:8:8", "8:8:8:8:8:8", "8:8:8:8:72", "08:8:8:8:8", "8:8:8:8:8\n", "8-8-8-8-8"]
)
def test_other_strings_are_refused(arch):
    for method in (SPACE.parse, SPACE.canonical, SPACE.graph, SPACE.network, SPACE.cost):
        with pytest.raises(InputError, match="is not a nats-sss arch; write it like '8:16:24:32:64', five of"):
            method(arch)
