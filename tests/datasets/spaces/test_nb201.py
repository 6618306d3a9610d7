"""NAS-Bench-201: published counts, one network for each function, and the notation."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from parzc.datasets import get_space
from parzc.datasets.spaces._nb201_networks import CellNetwork
from parzc.errors import InputError

SPACE = get_space("nb201")
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELLS = list(itertools.product(OPS, repeat=6))
cells = st.tuples(*[st.sampled_from(OPS)] * 6)


def string(cell):
    """The official notation, written out; a cell is given edge by edge in the order of the string."""
    a, b, c, d, e, f = cell
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def coded(digits):
    """The arch whose operations are numbered as in `OPS`."""
    return string([OPS[int(digit)] for digit in digits])


BEST, RESNET, ALL_3X3 = coded("333123"), coded("303101"), coded("333333")

# Parameters, millions of multiply-accumulates, convolution and linear layers: published or recomputed.
PUBLISHED = [
    (BEST, "cifar10", 1_073_466, 153.27297, 83),
    (BEST, "cifar100", 1_079_316, 153.27882, 83),
    (BEST, "imagenet16", 1_080_616, 38.32588, 83),
    (coded("132323"), "cifar10", 858_426, 121.81569, 83),
    (coded("334131"), "cifar10", 802_426, 113.95137, 53),
    (coded("103433"), "cifar10", 802_426, 113.95137, 53),
    (RESNET, "cifar10", 559_386, 78.56193, 38),
    (ALL_3X3, "cifar10", 1_531_546, 220.11969, 98),
    (coded("000000"), "cifar10", 73_306, 7.78305, 8),
    (coded("111111"), "cifar10", 73_306, 7.78305, 8),
]


def images(task, n=2):
    return torch.randn(n, *SPACE.task(task).input_shape, generator=torch.Generator().manual_seed(0))


def layers_of(network):
    return {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def counted_macs(network, x):
    """Multiply-accumulates for one input, from shapes seen in hooks; a bias is one addition per output."""
    counts = []

    def count(module, _, out):
        counts.append(out[0].numel() * (module.weight[0].numel() + (module.bias is not None)))

    for layer in layers_of(network).values():
        layer.register_forward_hook(count)
    with torch.no_grad():
        network(x)
    return sum(counts)


@pytest.mark.parametrize(("arch", "task", "params", "mmacs", "layers"), PUBLISHED)
def test_published_counts(arch, task, params, mmacs, layers):
    cost = SPACE.cost(arch, task)
    assert (cost.params, round(cost.macs / 1e6, 5), cost.n_layers) == (params, mmacs, layers)
    network = SPACE.network(arch, task).eval()
    assert sum(p.numel() for p in network.parameters()) == params
    assert len(layers_of(network)) == layers
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = network(images(task, 1))
    assert counter.get_total_flops() // 2 + SPACE.task(task).classes == cost.macs
    assert out.shape == (1, SPACE.task(task).classes)


@settings(deadline=None, max_examples=15)
@given(cells, st.sampled_from(("cifar10", "cifar100", "imagenet16")))
def test_cost_is_that_of_the_network_as_built(cell, task):
    arch = string(cell)
    cost = SPACE.cost(arch, task)
    with torch.device("meta"):
        network = SPACE.network(arch, task)
        macs = counted_macs(network, torch.empty(1, *SPACE.task(task).input_shape))
    params = sum(p.numel() for p in network.parameters())
    assert (cost.params, cost.macs, cost.n_layers) == (params, macs, len(layers_of(network)))


def test_the_space_is_complete():
    assert SPACE.size == len(SPACE.archs()) == 15_625
    assert set(SPACE.archs()) == {string(cell) for cell in CELLS}
    assert len({SPACE.canonical(arch) for arch in SPACE.archs()}) == 4_930


def walk(cell, start, edge, join):
    """The output node of a cell, where `edge(op, source)` is a term and `join` makes a node of terms."""
    nodes, operations = [start], iter(cell)
    for j in range(1, 4):
        nodes.append(join([edge(next(operations), source) for source in nodes[:j]]))
    return nodes[3]


def official_form(cell):
    """The unique string of the official code: zero terms stay as `#`, a skip is what it copies."""

    def term(op, source):
        if op == "none" or source == "#":
            return "#"
        return source if op == "skip_connect" else f"({source})@{op}"

    return walk(cell, "0", term, lambda terms: "+".join(sorted(terms)))


def test_official_form_counts_zero_terms_and_refines_the_canonical_one():
    classes = {official_form(cell): SPACE.canonical(string(cell)) for cell in CELLS}
    assert len(classes) == 6_466
    assert all(SPACE.canonical(string(cell)) == classes[official_form(cell)] for cell in CELLS)


def output(cell):
    """The cell on numbers, with a nonlinear function for each operation that maps zero to zero."""
    scale = {"none": 0.0, "nor_conv_1x1": 0.9, "nor_conv_3x3": 1.7, "avg_pool_3x3": -1.3}
    value = walk(cell, 0.83, lambda op, x: 1.1 * math.sin(scale[op] * x) if op in scale else x, sum)
    return round(value, 9)


def test_canonical_tells_functions_apart_and_joins_equal_ones():
    values = defaultdict(set)
    for cell in CELLS:
        values[SPACE.canonical(string(cell))].add(output(cell))
    assert all(len(found) == 1 for found in values.values())
    assert len({value for found in values.values() for value in found}) == 4_930


def test_canonical_is_idempotent_and_has_nothing_to_remove():
    for arch in {SPACE.canonical(arch) for arch in SPACE.archs()}:
        assert SPACE.canonical(arch) == arch
        cell = SPACE.parse(arch)
        for edge in (i for i, op in enumerate(cell) if op != "none"):
            smaller = string((*cell[:edge], "none", *cell[edge + 1 :]))
            assert SPACE.canonical(smaller) != arch, f"edge {edge} of {arch} is dead"


@pytest.mark.parametrize("mode", [True, False])
def test_removing_dead_edges_keeps_the_outputs(mode):
    """A canonical cell that is the cell without some edges computes the same with the same weights."""
    pruned = []
    for cell in CELLS:
        kept = SPACE.parse(SPACE.canonical(string(cell)))
        if 0 < sum(op != "none" for op in kept) < sum(op != "none" for op in cell):
            if all(k in ("none", op) for k, op in zip(kept, cell, strict=True)):
                pruned.append((string(cell), string(kept)))
    assert len(pruned) > 1_000
    x = images("cifar10")
    for arch, kept in pruned[:: len(pruned) // 5]:
        full, small = SPACE.network(arch).train(mode), SPACE.network(kept).train(mode)
        small.load_state_dict({name: full.state_dict()[name] for name in small.state_dict()})
        with torch.no_grad():
            torch.testing.assert_close(small(x), full(x))


def test_forward_is_the_sum_over_edges():
    cell = ("nor_conv_3x3", "avg_pool_3x3", "nor_conv_1x1", "skip_connect", "none", "nor_conv_3x3")
    network = CellNetwork(cell, 4)
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))

    def conv(edge, value):
        weight = network.edges[edge].conv.weight
        z = nn.functional.conv2d(value.relu(), weight, padding=weight.shape[-1] // 2)
        centred = z - z.mean((0, 2, 3), keepdim=True)
        return centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()

    inside = nn.functional.avg_pool2d(x, 3, 1, 1, divisor_override=1)
    neighbours = nn.functional.avg_pool2d(torch.ones_like(x), 3, 1, 1, divisor_override=1)
    first = conv("0-1", x)
    second = inside / neighbours + conv("1-2", first)
    torch.testing.assert_close(network(x), x + conv("2-3", second))
    assert torch.equal(CellNetwork(("none",) * 6, 4)(x), torch.zeros_like(x))


def test_slots_are_the_layers_of_the_full_network():
    layers = layers_of(SPACE.network(ALL_3X3))
    assert len(layers) == len(SPACE.slots) == 98
    assert {slot.name for slot in SPACE.slots} == set(layers)
    places = {slot.name: (slot.edge, slot.stage, slot.depth) for slot in SPACE.slots}
    assert places["stem.0"] == ("stem", 0, 0)
    assert places["cells.4.edges.1-3.conv"] == ("1-3", 0, 4)
    assert places["cells.5.conv_a.conv"] == ("reduction_a", 1, 5)
    assert places["cells.11.shortcut.1"] == ("reduction_shortcut", 2, 11)
    assert places["classifier"] == ("classifier", 2, 17)
    assert all(layers[slot.name].weight.shape[0] == 16 << slot.stage for slot in SPACE.slots[:-1])


@settings(deadline=None)
@given(cells)
def test_any_cell_round_trips(cell):
    arch = string(cell)
    assert SPACE.parse(arch) == cell
    assert SPACE.archs()[sum(OPS.index(op) * 5 ** (5 - i) for i, op in enumerate(cell))] == arch


@settings(deadline=None)
@given(cells)
def test_graph_is_a_dag_of_the_operations(cell):
    graph = SPACE.graph(string(cell))
    assert graph.operations == ("input", *cell, "output")
    assert set(graph.operations) <= set(SPACE.operations)
    assert not np.tril(graph.adjacency).any()
    # Edges in the order of the string: 0-1, 0-2, 1-2, 0-3, 1-3, 2-3.
    expected = {(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7)}
    assert {(int(i), int(j)) for i, j in np.argwhere(graph.adjacency)} == expected


BAD = ("", "resnet", BEST[:-1], BEST + "|", BEST.replace("~1", "~0", 1), BEST.replace("3x3", "5x5"), 7)


@pytest.mark.parametrize("arch", BAD)
def test_other_strings_are_refused(arch):
    for method in (SPACE.parse, SPACE.canonical, SPACE.graph, SPACE.network, SPACE.cost):
        with pytest.raises(InputError, match=r"is not an nb201 arch; write it like '\|nor_conv_3x3~0\|\+"):
            method(arch)


@settings(deadline=None)
@given(st.text(alphabet="|~+012_acdeiknoprstvx3", max_size=60))
def test_random_text_is_refused(text):
    with pytest.raises(InputError):
        SPACE.parse(text)


def test_unknown_tasks_are_refused():
    for method in (SPACE.network, SPACE.cost):
        with pytest.raises(InputError, match=r"no task 'mnist'; choose one of cifar10, cifar100, imagenet16$"):
            method(BEST, "mnist")


def test_weights_depend_on_the_seed_alone():
    state = torch.get_rng_state()
    first = SPACE.network(RESNET, seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    again, other = SPACE.network(RESNET, seed=1).state_dict(), SPACE.network(RESNET, seed=2).state_dict()
    torch.set_rng_state(state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def test_sample_draws_without_replacement():
    sample = SPACE.sample(500, seed=3)
    assert len(set(sample)) == 500
    assert sample == SPACE.sample(500, seed=3) != SPACE.sample(500, seed=4)
    assert sorted(SPACE.sample(SPACE.size, seed=0)) == sorted(SPACE.archs())
    for n in (0, -1, 15_626):
        with pytest.raises(InputError, match=rf"^cannot draw {n} architectures from nb201: it holds 15625"):
            SPACE.sample(n, seed=0)


def test_a_mutation_changes_the_operation_of_one_edge_to_any_other():
    arch = SPACE.archs()[1234]
    cell = SPACE.parse(arch)
    changes = set()
    for seed in range(400):
        other = SPACE.parse(SPACE.mutate(arch, seed))
        edges = [edge for edge in range(6) if other[edge] != cell[edge]]
        assert len(edges) == 1
        changes.add((edges[0], other[edges[0]]))
    assert len(changes) == 6 * 4
    assert SPACE.mutate(arch, 7) == SPACE.mutate(arch, 7)
