"""TransNAS-Bench-101: both spaces complete, counts in closed form, one network for each function, the notations."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.datasets import get_space, load_table
from parzc.datasets.spaces._cost import count_cost
from parzc.datasets.spaces._transnas_networks import FactorizedReduce, MicroCell, ResidualBlock
from parzc.errors import InputError

MICRO, MACRO = get_space("transnas-micro"), get_space("transnas-macro")
SPACES = (MICRO, MACRO)
OUTPUTS = {
    "class_scene": 47, "class_object": 75, "autoencoder": 3, "normal": 3, "jigsaw": 1000, "room_layout": 9,
    "segmentsemantic": 17,
}  # fmt: skip
CELLS = ["".join(cell) for cell in itertools.product("0123", repeat=6)]


def string(cell):
    return f"64-41414-{cell[0]}_{cell[1:3]}_{cell[3:]}"


def convolution(c_in, c_out, kernel):
    """Parameters of a convolution and its batch norm."""
    return c_in * c_out * kernel**2 + 2 * c_out


STEM = convolution(3, 32, 3) + convolution(32, 64, 3)


def micro_params(cell, outputs):
    """Edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3; those from node 0 see the input channels of the first cell of a layer."""
    total, width = STEM, 64
    for layer in "41414":
        wider = 2 * width if layer == "4" else width
        for c_in in (width, wider):
            for source, op in zip((0, 0, 1, 0, 1, 2), cell, strict=True):
                channels = c_in if source == 0 else wider
                if op in "23":
                    total += convolution(channels, wider, {"2": 1, "3": 3}[op])
                elif op == "1" and channels != wider:
                    total += convolution(channels, wider, 1)  # two halves of the output channels
        width = wider
    return total + (width + 1) * outputs


def macro_params(layers, outputs):
    total, width = STEM, 64
    for layer in layers:
        wider = 2 * width if layer in "24" else width
        total += convolution(width, wider, 3) + 3 * convolution(wider, wider, 3)
        total += convolution(width, wider, 1) if layer != "1" else 0
        width = wider
    return total + (width + 1) * outputs


@pytest.mark.parametrize("cell", ["000000", "111111", "333333", "102333", "012301"])
def test_parameters_of_micro_networks(cell):
    assert MICRO.cost(string(cell)).params == micro_params(cell, 47)


@pytest.mark.parametrize("layers", ["1234", "111143", "344411", "2411", "343412"])
def test_parameters_of_macro_networks(layers):
    assert MACRO.cost(f"64-{layers}-basic", "room_layout").params == macro_params(layers, 9)


def test_the_spaces_are_complete(data_dir):
    for space, size in ((MICRO, 4_096), (MACRO, 3_256)):
        assert space.size == len(set(space.archs())) == size
        path = data_dir / f"transnas101_{space.name.removeprefix('transnas-')}.csv.gz"
        table = load_table(path, space=space, target="class_scene")
        assert set(table.archs) == set(space.archs())
        assert set(table.columns) == set(space.tasks)
    assert set(MICRO.archs()) == {string(cell) for cell in CELLS}


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_every_task_has_its_head(space):
    assert {name: task.classes for name, task in space.tasks.items()} == OUTPUTS
    assert space.task().name == "class_scene"
    width = 512 if space is MICRO else 256
    with torch.device("meta"):
        for name, outputs in OUTPUTS.items():
            network = space.network(space.example, name)
            tiles = 9 if name == "jigsaw" else 1
            assert network.classifier.weight.shape == (outputs, tiles * width)
            assert network(torch.empty(2, *space.task(name).input_shape)).shape == (2, outputs)
    assert space.task("normal").input_shape == (3, 256, 256)
    assert space.task("jigsaw").input_shape == (3, 3 * 64, 3 * 64)


def test_jigsaw_sees_its_tiles_one_by_one():
    network = MACRO.network("64-2311-basic", "jigsaw").eval()
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    features = []
    with torch.no_grad():
        for row, column in itertools.product(range(3), repeat=2):
            tile = x[:, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
            features.append(network.layers(network.stem(tile)).mean((2, 3)))
        torch.testing.assert_close(network(x), network.classifier(torch.cat(features, 1)), rtol=1e-4, atol=1e-5)


def test_inputs_may_be_smaller():
    assert MICRO.task("normal@64").input_shape == (3, 64, 64)
    assert MICRO.task("normal@64").name == "normal@64"
    full, small = MICRO.cost(string("333333")), MICRO.cost(string("333333"), "class_scene@64")
    assert (full.params, full.n_layers) == (small.params, small.n_layers)
    head = 513 * 47
    assert full.macs - head == 16 * (small.macs - head)
    for task, reason in (
        ("normal@50", "normal takes inputs of a multiple of 32 pixels, not of '50'"),
        ("jigsaw@64", "jigsaw takes inputs of a multiple of 96 pixels"),
        ("normal@", "not of ''"),
        ("normal@0", "not of '0'"),
        ("normal@-32", "not of '-32'"),
        ("depth@64", "transnas-micro has no task 'depth'; choose one of class_scene, "),
    ):
        with pytest.raises(InputError, match=reason):
            MICRO.task(task)


def normalised(z):
    variance, mean = torch.var_mean(z, (0, 2, 3), correction=0, keepdim=True)
    return (z - mean) / (variance + 1e-5).sqrt()


def test_a_factorised_reduction_shifts_its_second_half():
    module = FactorizedReduce(4, 6, stride=2)
    x = torch.randn(3, 4, 7, 8, generator=torch.Generator().manual_seed(0))
    positive = F.pad(x.relu(), (0, 1, 0, 1))
    even, odd = positive[:, :, 0:7:2, 0:8:2], positive[:, :, 1::2, 1::2]
    halves = [torch.einsum("oi,bihw->bohw", conv.weight[:, :, 0, 0], part)
              for conv, part in zip(module.convs, (even, odd), strict=True)]  # fmt: skip
    torch.testing.assert_close(module(x), normalised(torch.cat(halves, 1)))


def test_a_micro_cell_is_the_sum_over_edges_and_changes_the_shape_at_its_input():
    operations = ("nor_conv_3x3", "skip_connect", "nor_conv_1x1", "none", "skip_connect", "nor_conv_3x3")
    cell = MicroCell(operations, 4, 6, 2)
    x = torch.randn(3, 4, 7, 8, generator=torch.Generator().manual_seed(0))

    def conv(edge, value, stride=1):
        weight = cell.edges[edge].conv.weight
        return normalised(F.conv2d(value.relu(), weight, stride=stride, padding=weight.shape[-1] // 2))

    first = conv("0-1", x, stride=2)
    second = cell.edges["0-2"](x) + conv("1-2", first)
    torch.testing.assert_close(cell(x), first + conv("2-3", second))
    assert torch.equal(MicroCell(("none",) * 6, 4, 6, 2)(x), torch.zeros(3, 6, 4, 4))


def test_a_residual_block_projects_where_the_shape_changes():
    x = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    for c_out, stride in ((4, 1), (8, 1), (4, 2), (8, 2)):
        block = ResidualBlock(4, c_out, stride)
        first = normalised(F.conv2d(x.relu(), block.conv_a.conv.weight, stride=stride, padding=1))
        second = normalised(F.conv2d(first.relu(), block.conv_b.conv.weight, padding=1))
        plain = (c_out, stride) == (4, 1)
        base = x if plain else normalised(F.conv2d(x, block.downsample[0].weight, stride=stride))
        torch.testing.assert_close(block(x), base + second)


def output(cell, copies):
    """The cell on numbers: a nonlinear function for each operation, zero at zero; `copies` of a skip from node 0."""
    nodes, digits = [0.83], iter(cell)
    for j in range(1, 4):
        total = 0.0
        for i in range(j):
            digit = next(digits)
            if digit == "1" and (i or copies):
                total += nodes[i]
            else:
                total += 1.1 * math.sin({"0": 0.0, "1": -1.3, "2": 0.9, "3": 1.7}[digit] * nodes[i])
        nodes.append(total)
    return round(nodes[3], 9)


def test_canonical_joins_what_is_equal_in_cells_of_both_kinds_and_nothing_else():
    values = defaultdict(set)
    for cell in CELLS:
        values[MICRO.canonical(string(cell))].add((output(cell, True), output(cell, False)))
    assert all(len(found) == 1 for found in values.values())
    assert len(values) == len(set.union(*values.values())) == 1_229


def test_all_layers_of_macro_networks_are_different_functions():
    assert [MACRO.canonical(arch) for arch in MACRO.archs()] == list(MACRO.archs())


def test_graph_of_a_micro_cell_is_that_of_nb201():
    names = {"0": "none", "1": "skip_connect", "2": "nor_conv_1x1", "3": "nor_conv_3x3"}
    other = get_space("nb201").graph("|skip_connect~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|none~1|nor_conv_3x3~2|")
    graph = MICRO.graph(string("102303"))
    assert graph.operations == ("input", *(names[digit] for digit in "102303"), "output") == other.operations
    assert (graph.adjacency == other.adjacency).all()


def test_graph_of_a_macro_network_is_its_chain_of_layers():
    graph = MACRO.graph("64-1234-basic")
    assert graph.operations[1:-1] == ("keep", "double_channels", "halve_resolution", "double_channels_halve_resolution")
    assert [tuple(edge) for edge in np.argwhere(graph.adjacency).tolist()] == [(i, i + 1) for i in range(5)]


def test_slots_have_their_place():
    micro = {slot.name: (slot.edge, slot.stage, slot.depth) for slot in MICRO.slots}
    assert micro["stem.2.conv"] == ("stem 1", 0, 0)
    assert micro["layers.1.1.edges.1-3.conv"] == ("1-3", 0, 3)
    assert micro["layers.4.0.edges.0-2.convs.1"] == ("0-2", 2, 8)
    macro = {slot.name: (slot.edge, slot.stage, slot.depth) for slot in MACRO.slots}
    assert macro["layers.5.1.conv_b.conv"] == ("conv_b 1", 5, 11)
    assert macro["layers.2.0.downsample.0"] == ("downsample 0", 2, 4)
    for space in SPACES:
        archs = [string("333333"), string("111111")] if space is MICRO else ["64-224333-basic"]
        networks = [space.network(arch) for arch in archs]
        layers = {n for net in networks for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
        assert layers == {slot.name for slot in space.slots}


BAD = (
    "", 7, None, "64-41414-1_02_33", "64-41414-1_02_334", "64-41414-1_02_333\n", "32-41414-1_02_333", "64-41414-102333",
    "64-1234", "64-1235-basic", "64-123-basic", "64-1234123-basic", "64-1234-basic ", "64-١234-basic",
)  # fmt: skip


@pytest.mark.parametrize("arch", BAD)
@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_other_strings_are_refused(space, arch):
    for method in (space.parse, space.canonical, space.graph, space.network, space.cost):
        with pytest.raises(InputError, match=f"is not an arch of {space.name}; write it like '{space.example}'"):
            method(arch)


@pytest.mark.parametrize("layers", ["1111", "1113", "1112", "222233", "333342"])
def test_too_many_or_too_few_changes_of_the_shape_are_refused(layers):
    """No doubling; no doubling; no halving; four doublings; five halvings."""
    with pytest.raises(InputError, match=r"is not an arch of transnas-macro; one to three of its layers must double"):
        MACRO.parse(f"64-{layers}-basic")


def test_a_macro_mutation_changes_leaves_out_or_puts_in_a_layer():
    layers, found = "12341", set()
    for seed in range(400):
        other = MACRO.parse(MACRO.mutate(f"64-{layers}-basic", seed))
        if len(other) == len(layers):
            assert sum(a != b for a, b in zip(layers, other, strict=True)) == 1
        else:
            short, long = sorted((layers, other), key=len)
            assert any(long[:i] + long[i + 1 :] == short for i in range(len(long)))
        found.add(len(other))
    assert found == {4, 5, 6}


@pytest.mark.parametrize("space", [MICRO, MACRO], ids=lambda space: space.name)
def test_costs_are_those_of_the_network_as_a_whole(space):
    for arch, task in zip(space.sample(6, 0), [*[*space.tasks][:5], "class_scene@96"], strict=True):
        assert space.cost(arch, task) == count_cost(lambda a=arch, t=task: space.network(a, t), space.task(task))
