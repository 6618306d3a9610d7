"""Cell-based spaces: published counts, cost, slots, graphs, mutation."""

import itertools

import numpy as np
import pytest
import torch
from genotypes import AMOEBA, DARTS_V1, DARTS_V2, NASNET, PDARTS, PNAS, genotypes, text
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from parzc.datasets import get_space, load_table
from parzc.datasets.spaces._cell_costs import Family
from parzc.datasets.spaces._cell_space import CellSpace
from parzc.datasets.spaces._cells import CellModule, CellNetwork
from parzc.datasets.spaces._genotype import Cell, Genotype, canonical_cell, ordered
from parzc.errors import InputError
from parzc.testing._networks import Shapes

NAMES = ("darts", "nds-darts", "nds-enas", "nds-nasnet", "nds-amoeba", "nds-pnas")
SPACES = {name: get_space(name) for name in NAMES}
DARTS = SPACES["darts"]
every_space = pytest.mark.parametrize("name", NAMES)

PUBLISHED = [
    ("darts", DARTS_V2, 3_349_342),
    ("nds-darts", DARTS_V2, 3_349_342),
    ("darts", DARTS_V1, 3_169_414),
    ("darts", PDARTS, 3_433_798),
    ("nds-nasnet", NASNET, 3_830_950),
    ("nds-pnas", PNAS, 4_481_110),
    ("nds-amoeba", AMOEBA, 3_145_078),
]


def layers_of(network):
    return {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def counted(network, shape):
    """Parameters, multiply-accumulates from shapes seen in hooks, and layers."""
    macs = []
    for layer in layers_of(network).values():
        layer.register_forward_hook(
            lambda m, _, out: macs.append(out[0].numel() * (m.weight[0].numel() + (m.bias is not None)))
        )
    with torch.no_grad():
        network.eval()(torch.zeros(1, *shape))
    return sum(p.numel() for p in network.parameters()), sum(macs), len(layers_of(network))


def built(space, arch, task="cifar10"):
    """The network without weights."""
    with torch.device("meta"), Shapes():
        return CellNetwork(space.parse(arch), space.task(task).classes, task == "imagenet")


@pytest.mark.parametrize(("name", "arch", "params"), PUBLISHED)
def test_published_counts(name, arch, params):
    assert SPACES[name].cost(arch).params == params
    assert sum(p.numel() for p in built(SPACES[name], arch).parameters()) == params


def test_darts_on_imagenet_has_the_published_size():
    """48 channels and 14 cells: 4.7 million parameters (DARTS paper, table 3)."""
    cost = DARTS.cost(DARTS_V2.replace("width=36, depth=20", "width=48, depth=14"), "imagenet")
    assert round(cost.params / 1e6, 1) == 4.7


def test_the_table_of_nas_bench_301_counts_operations_without_scale_and_shift(data_dir):
    """All 725 rows, to the printed digits.

    NASLib's networks have 32 channels and 8 cells; the batch norms inside the operations of the edges have no scale and
    shift there, those of the stem and of the inputs of cells have. Here, and in DARTS and NAS-Bench-301, all have them.
    """
    table = load_table(data_dir / "nb301_725.csv.gz", space=DARTS, target="cifar10_surrogate")
    printed = table.column("params_m")
    assert len(table) == 725
    norms = {"sep_conv_3x3": 2, "sep_conv_5x5": 2, "dil_conv_3x3": 1, "dil_conv_5x5": 1}
    for arch, millions in zip(table.archs, printed, strict=True):
        genotype = DARTS.parse(arch)
        assert (genotype.width, genotype.depth) == (32, 8)
        # Six normal cells of 32, 32, 64, 64, 128, 128 channels, two reduction cells of 64 and 128.
        count = 2 * 448 * sum(norms.get(operation, 0) for operation, _ in genotype.normal.edges)
        for operation, source in genotype.reduce.edges:
            count += 2 * 192 * (1 if operation == "skip_connect" and source < 2 else norms.get(operation, 0))
        assert float(f"{(DARTS.cost(arch).params - count) / 1e6:.6g}") == millions
    network = built(DARTS, table.archs[0])
    inside = [m for n, m in network.named_modules() if ".edges." in n and isinstance(m, nn.BatchNorm2d)]
    rest = DARTS.cost(table.archs[0]).params - sum(2 * m.num_features for m in inside)
    assert rest / 1e6 == pytest.approx(printed[0], abs=5e-7)


@every_space
def test_cost_is_that_of_the_network_as_built(name):
    space = SPACES[name]

    @settings(deadline=None, max_examples=8)
    @given(
        genotypes(space.family, widths=(2, 6), depths=(3, 4, 6)), st.sampled_from(("cifar10", "cifar100", "imagenet"))
    )
    def check(genotype, task):
        cost = space.cost(str(genotype), task)
        found = counted(space.network(str(genotype), task), space.task(task).input_shape)
        assert found == (cost.params, cost.macs, cost.n_layers)

    check()


def reading(family, shift):
    """A cell of separable convolutions; over all shifts, the nodes read from everything before them."""
    edges = []
    for node in range(2, 2 + family.nodes):
        first = shift % node
        edges += [("sep_conv_3x3", first), ("sep_conv_3x3", first if family.repeats else (shift + 1) % node)]
    return Cell(tuple(edges), tuple(range(2, 2 + family.nodes)))


@every_space
def test_slots_are_the_layers_of_all_networks(name):
    space, seen = SPACES[name], set()
    slots = {slot.name: slot for slot in space.slots}
    # Few cells: reduction cells one behind the other. The stem for ImageNet: the first cell reads two resolutions.
    cases = [
        *((shift, 24, "cifar10") for shift in range(1 + space.family.nodes)),
        (0, 24, "imagenet"),
        (0, 3, "cifar10"),
    ]
    for shift, depth, task in cases:
        cell = reading(space.family, shift)
        seen |= set(layers_of(built(space, str(Genotype(cell, cell, 2, depth)), task)))
    assert seen == set(slots) and len(slots) == len(space.slots)


@every_space
def test_slots_say_where_a_layer_is(name):
    places = {slot.name: (slot.edge, slot.stage, slot.depth) for slot in SPACES[name].slots}
    assert places["stem.conv_0"] == ("stem", 0, 0)
    assert places["stages.0.7.edges.1-3.conv_0"] == ("1-3 normal", 0, 7)
    assert places["stages.1.0.edges.1-3.conv_0"] == ("1-3 reduce", 1, 8)
    assert places["stages.2.1.preprocess0.conv_1"] == ("input 0 normal", 2, 17)
    assert places["classifier"] == ("classifier", 2, 24)


@every_space
def test_networks_of_drawn_architectures_compute_and_learn(name):
    space = SPACES[name]
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for arch in space.sample(2, seed=1):
        genotype = space.parse(arch)
        small = str(Genotype(genotype.normal, genotype.reduce, 4, 3))
        network = space.network(small, seed=3)
        logits = network(x)
        logits.square().sum().backward()
        assert logits.shape == (2, 10)
        gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        assert all(g.isfinite().all() for g in gradients.values())
        assert gradients["stem.conv_0.weight"].abs().sum() > 0
        again = space.network(small, seed=3).state_dict()
        assert all(torch.equal(again[n], t) for n, t in space.network(small, seed=3).state_dict().items())
    imagenet = space.network(small, "imagenet")
    assert imagenet(torch.randn(1, 3, 64, 64).expand(2, -1, -1, -1)).shape == (2, 1000)


def test_a_cell_is_the_sum_over_its_edges():
    """A normal and a reduction cell against plain functions."""
    cell = Cell((("sep_conv_3x3", 0), ("skip_connect", 1), ("dil_conv_5x5", 0), ("max_pool_3x3", 2)), (2, 3))
    x, y = torch.randn(2, 2, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    for reduction in (False, True):
        module = CellModule(cell, (6, 6), 4, reduction, False)
        parts = dict(module.named_parameters())

        def conv(value, name, parts=parts, **options):
            return nn.functional.conv2d(value, parts[f"{name}.weight"], **options)

        def norm(value):
            centred = value - value.mean((0, 2, 3), keepdim=True)
            return centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()

        stride = 2 if reduction else 1
        first, second = (norm(conv(v.relu(), f"preprocess{i}.conv_0")) for i, v in enumerate((x, y)))
        half = conv(first.relu(), "edges.0-2.conv_0", stride=stride, padding=1, groups=4)
        half = norm(conv(half, "edges.0-2.conv_1")).relu()
        sep = norm(conv(conv(half, "edges.0-2.conv_2", padding=1, groups=4), "edges.0-2.conv_3"))
        skip = second
        if reduction:
            even, odd = second.relu()[:, :, ::2, ::2], second.relu()[:, :, 1::2, 1::2]
            skip = norm(torch.cat([conv(even, "edges.1-2.conv_0"), conv(odd, "edges.1-2.conv_1")], 1))
        node = sep + skip
        dil = conv(first.relu(), "edges.0-3.conv_0", stride=stride, padding=4, dilation=2, groups=4)
        other = norm(conv(dil, "edges.0-3.conv_1")) + nn.functional.max_pool2d(node, 3, 1, 1)
        torch.testing.assert_close(module(x, y), torch.cat([node, other], 1))


def moved(network, canonical, number):
    """The weights of a cell whose nodes get other numbers, or None if the canonical cell has other edges."""
    weights = {}
    for name, value in network.state_dict().items():
        parent, place, *rest = name.split(".")
        if parent == "edges":
            (source, node), again = map(int, place.rstrip("b").split("-")), "b" * place.endswith("b")
            place = f"{number[source]}-{number[node]}{again}"
        weights[".".join((parent, place, *rest))] = value
    wanted = canonical.state_dict()
    found = {name: weights[name] for name in wanted if name in weights and weights[name].shape == wanted[name].shape}
    return found if found.keys() == wanted.keys() else None


@settings(deadline=None, max_examples=25)
@given(genotypes(SPACES["nds-darts"].family), st.booleans())
def test_a_canonical_cell_computes_the_same_with_the_same_weights(genotype, reduction):
    cell = ordered(genotype.reduce)
    network, canonical = (CellModule(c, (3, 3), 2, reduction, False) for c in (cell, canonical_cell(cell)))
    x, y = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected, same = network(x, y).unflatten(1, (4, 2)), []
    for order in itertools.permutations(range(4)):
        weights = moved(network, canonical, {0: 0, 1: 1} | {2 + old: 2 + new for new, old in enumerate(order)})
        if weights is not None:
            canonical.load_state_dict(weights)
            same.append(torch.allclose(canonical(x, y).unflatten(1, (4, 2)), expected[:, list(order)], atol=1e-5))
    assert any(same)


@every_space
def test_graph_is_a_dag_of_both_cells(name):
    space = SPACES[name]
    for arch in space.sample(5, seed=0):
        genotype, graph = space.parse(arch), space.graph(arch)
        assert set(graph.operations) <= {"input", "output", *space.operations}
        assert not np.tril(graph.adjacency).any()
        operations = [op for cell in (genotype.normal, genotype.reduce) for op, _ in cell.edges]
        found = [label.split()[1] for label in graph.operations if " " in label]
        assert [label for label in found if label not in ("input", "output")] == operations
        # Everything but the input reads something; everything but the output is read.
        reads, is_read = graph.adjacency.any(0), graph.adjacency.any(1)
        assert reads[1:].all() and is_read[-1:].sum() == 0 and is_read[0]


def test_graph_of_a_known_cell():
    cell = "[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_3x3', 2), ('max_pool_3x3', 0)]"
    space = CellSpaceOfTwo()
    graph = space.graph(text(cell, "[3]", cell, "[3]", ", width=2, depth=3"))
    inside = ("input", "input", "sep_conv_3x3", "skip_connect", "max_pool_3x3", "dil_conv_3x3", "output")
    assert graph.operations == ("input", *(f"{k} {o}" for k in ("normal", "reduce") for o in inside), "output")
    edges = {(0, 1), (0, 2), (1, 3), (2, 4), (1, 5), (3, 6), (4, 6), (5, 7), (6, 7)}
    second = {(i + 7, j + 7) for i, j in edges}
    assert {(int(i), int(j)) for i, j in np.argwhere(graph.adjacency)} == edges | second | {(14, 15)}


class CellSpaceOfTwo(CellSpace):
    name, family = "two", Family(DARTS.family.operations, nodes=2, output="loose ends")


def test_darts_reads_index_pairs_and_knows_the_size_of_nas_bench_301():
    indices = "[[(0, 3), (1, 3), (0, 3), (1, 3), (1, 3), (0, 2), (0, 2), (2, 5)], "
    indices += "[(0, 0), (1, 0), (2, 2), (1, 0), (0, 0), (2, 2), (2, 2), (1, 0)]]"
    small = DARTS_V2.replace("width=36, depth=20", "width=32, depth=8")
    assert (
        DARTS.canonical(indices) == DARTS.canonical(small) == DARTS.canonical(small.replace(", width=32, depth=8", ""))
    )
    assert DARTS.canonical(DARTS_V2) == DARTS.canonical(small).replace("width=32, depth=8", "width=36, depth=20")
    for name in NAMES[1:]:
        with pytest.raises(InputError, match=f"not an arch of {name}; write it like Genotype"):
            SPACES[name].parse(indices)


REFUSED = [
    (lambda a: a.replace("depth=20", "depth=2"), "the depth is 2; give 3 to 24 cells"),
    (lambda a: a.replace("depth=20", "depth=25"), "the depth is 25"),
    (lambda a: a.replace("width=36", "width=35"), "the width is 35; give an even number of channels, at most 512"),
    (lambda a: a.replace("dil_conv_3x3", "none"), "in the normal cell, 'none' is no operation; choose from max_pool"),
    (lambda a: a.replace("('sep_conv_3x3', 1)", "('sep_conv_3x3', 0)", 1), "node 2 reads twice from 0"),
    (lambda a: a.replace("('max_pool_3x3', 1)", "('max_pool_3x3', 2)", 1), "reduce cell, node 2 reads from 2, which"),
    (lambda a: a.replace("range(2, 6)", "[2, 3, 4]", 1), "node 5 is not in the output"),
    (lambda a: a.replace("range(2, 6)", "[2, 3, 4, 5, 5]"), "is not made of different nodes"),
    (lambda a: a.replace("('sep_conv_3x3', 0), ", "", 1), "there are 7 edges, not 8"),
    (lambda a: a[:-2], "write it like Genotype"),
    (lambda _: 7, "'7' is not an arch of darts; write it like Genotype"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_is_no_architecture_is_refused_with_the_reason(change, message):
    for method in (DARTS.parse, DARTS.canonical, DARTS.graph, DARTS.network, DARTS.cost):
        with pytest.raises(InputError, match=message):
            method(change(DARTS_V2))


@every_space
def test_a_mutation_is_another_architecture_that_differs_in_one_decision(name):
    space = SPACES[name]
    arch = space.sample(1, seed=5)[0]
    before, kinds = space.parse(arch), set()
    for seed in range(300):
        after = space.parse(space.mutate(arch, seed))
        assert space.mutate(arch, seed) == space.mutate(arch, seed)
        changed = [f for f in ("normal", "reduce", "width", "depth") if getattr(after, f) != getattr(before, f)]
        assert len(changed) == 1
        if changed[0] in ("width", "depth"):
            kinds.add(changed[0])
            continue
        cells = (getattr(before, changed[0]), getattr(after, changed[0]))
        differing = [n for n in cells[0].nodes if sorted(cells[0].into(n)) != sorted(cells[1].into(n))]
        assert len(differing) == 1
        one, other = (list(cell.into(differing[0])) for cell in cells)
        common = [edge for edge in one if edge in other]
        assert common
        one.remove(common[0]), other.remove(common[0])
        kinds.add("operation" if one[0][1] == other[0][1] else "source")
        assert one[0][0] == other[0][0] or one[0][1] == other[0][1]
    sizes = {"width", "depth"} if name != "darts" else set()
    assert kinds == {"operation", "source"} | sizes


@every_space
def test_drawn_architectures_are_written_as_they_are_read(name):
    space = SPACES[name]
    archs = space.sample(50, seed=2)
    assert len(set(archs)) == 50 and archs == space.sample(50, seed=2) != space.sample(50, seed=3)
    for arch in archs:
        genotype = space.parse(arch)
        assert str(genotype) == arch and space.canonical(space.canonical(arch)) == space.canonical(arch)
        assert genotype.width in space.family.widths and genotype.depth in space.family.depths
    with pytest.raises(InputError, match=f"{name} has .* architectures, too many to list"):
        space.archs()
