"""NAS-Bench-101: published counts, one canonical form for isomorphic cells, and the notation."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.datasets import get_space, load_table
from parzc.datasets.spaces import nb101
from parzc.datasets.spaces._nb101_networks import CellNetwork, vertex_channels
from parzc.errors import InputError

SPACE = get_space("nb101")
C3, C1, MP = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"
# The cell of the official README: Inception-like, two 3x3 convolutions in place of one of 5x5.
README = f"{C1}:1|{C3}:10|{C3}:100|{C3}:0001|{MP}:10000|output:011011"
DIRECT = "output:1"
CHAIN = f"{C3}:1|{C3}:01|{C3}:001|{C3}:0001|{C3}:00001|output:000001"
PUBLISHED = [
    (README, 2_694_282, 74),
    (DIRECT, 882_570, 11),
    (f"{C3}:1|{C3}:01|output:101", 20_346_506, 38),
    (CHAIN, 47_358_090, 56),
]


@pytest.mark.parametrize(("arch", "params", "layers"), PUBLISHED)
def test_published_counts(arch, params, layers):
    assert (SPACE.cost(arch).params, SPACE.cost(arch).n_layers) == (params, layers)
    with torch.device("meta"):
        assert sum(p.numel() for p in SPACE.network(arch).parameters()) == params


@pytest.fixture(scope="module")
def table(data_dir):
    return load_table(data_dir / "nb101_500.csv.gz", space=SPACE, target="cifar10_valid")


def test_parameters_of_published_cells(table):
    """The table prints six digits."""
    assert len(table) == 500
    printed = [f"{published:.6g}" for published in table.column("params_m")]
    assert [f"{SPACE.cost(arch).params / 1e6:.6g}" for arch in table.archs] == printed


def test_published_cells_of_one_class_share_the_three_trainings(table):
    """The table gives one of the three trainings of the class; a form that joined too much would bring more values."""
    classes = defaultdict(set)
    for arch, label in zip(table.archs, table.labels, strict=True):
        classes[SPACE.canonical(arch)].add(label)
    assert len(classes) == 292
    assert max(map(len, classes.values())) == 3


def cells(n):
    """Every cell of `n` vertices without dead ones, as a matrix and operations."""
    places = list(itertools.combinations(range(n), 2))
    for bits in itertools.product((0, 1), repeat=len(places)):
        matrix = np.zeros((n, n), dtype=int)
        matrix[tuple(np.transpose(places))] = bits
        paths = np.linalg.matrix_power(matrix + np.eye(n, dtype=int), n)
        if matrix.sum() <= 9 and paths[0].all() and paths[:, -1].all():
            yield from ((matrix, operations) for operations in itertools.product((C3, C1, MP), repeat=n - 2))


def string(matrix, operations):
    names = (*operations, "output")
    return "|".join(f"{name}:{''.join(map(str, matrix[:v, v]))}" for v, name in enumerate(names, start=1))


@pytest.mark.parametrize(("n", "published"), [(2, 1), (3, 6), (4, 84), (5, 2_441)])
def test_as_many_classes_as_published(n, published):
    """The first terms of 1 + 6 + 84 + 2,441 + 62,010 + 359,082 = 423,624."""
    assert len({SPACE.canonical(string(*cell)) for cell in cells(n)}) == published
    assert SPACE.size == 1 + 6 + 84 + 2_441 + 62_010 + 359_082


def test_canonical_is_the_same_for_every_order_of_the_vertices():
    matrix = np.array([[0, 1, 1, 0, 0, 0, 1], [0, 0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 1, 0, 0], *np.zeros((4, 7), int)])
    matrix[3, 6] = matrix[4, 6] = matrix[5, 6] = 1
    matrix[0, 6] = 0
    operations = (C3, C3, MP, C1, C3)
    found, orders = set(), 0
    for order in itertools.permutations(range(1, 6)):
        index = [0, *order, 6]
        moved = matrix[np.ix_(index, index)]
        if not np.tril(moved).any():
            orders += 1
            found.add(SPACE.canonical(string(moved, [operations[v - 1] for v in order])))
    assert orders > 5 and len(found) == 1
    assert SPACE.canonical(found.copy().pop()) == found.pop()


def test_dead_vertices_are_pruned():
    # Vertex 2 is read by none, vertex 3 reads from none.
    arch = f"{C3}:1|{MP}:10|{C1}:000|{C1}:0101|output:00001"
    assert SPACE.canonical(arch) == SPACE.canonical(f"{C3}:1|{C1}:01|output:001")
    assert SPACE.graph(arch).operations == ("input", C3, C1, "output")
    assert SPACE.cost(arch) == SPACE.cost(f"{C3}:1|{C1}:01|output:001")


def test_output_channels_are_divided():
    operations, reads = SPACE.parse(f"{C3}:1|{C3}:01|{C1}:010|{MP}:0010|output:00111")
    # Vertices 2, 3 and 4 end in the output; vertex 1 is as wide as the widest of 2 and 3.
    assert vertex_channels((operations, reads), 128, 128) == [128, 43, 43, 43, 42, 128]


def test_forward_is_the_sum_at_inner_vertices_and_the_concatenation_at_the_output():
    cell = CellNetwork(SPACE.parse(f"{C3}:1|{MP}:11|output:111"), 4, 5)
    x = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))

    def layer(module, value):
        weight = module.conv.weight
        z = F.conv2d(value, weight, padding=weight.shape[-1] // 2)
        variance, mean = torch.var_mean(z, (0, 2, 3), correction=0, keepdim=True)
        return ((z - mean) / (variance + 1e-5).sqrt()).relu()

    first = layer(cell.operations["1"], layer(cell.projections["1"], x))
    assert first.shape == (3, 3, 6, 6)
    # The pooling has two channels, so that the last of the three is cut off.
    second = F.max_pool2d(first[:, :2] + layer(cell.projections["2"], x), 3, 1, 1)
    out = torch.cat([first, second], 1) + layer(cell.projections["output"], x)
    torch.testing.assert_close(cell(x), out)


def test_slots_are_the_layers_of_full_networks():
    # Between them these fill all places: a projection and a convolution at each vertex, a projection at the output.
    wide = "|".join(f"{C3}:1{'0' * v}" for v in range(4))
    last = f"{MP}:1|{MP}:01|{MP}:001|{MP}:0001|{C3}:10001|output:000001"
    places = {}
    for arch in (CHAIN, DIRECT, f"{wide}|output:01111", last):
        network = SPACE.network(arch)
        places |= {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {slot.name for slot in SPACE.slots} == set(places)
    where = {slot.name: (slot.edge, slot.stage, slot.depth) for slot in SPACE.slots}
    assert len(where) == 9 * 11 + 2
    assert where["cells.4.projections.3.conv"] == ("projection 3", 1, 4)
    assert where["cells.10.projections.output.conv"] == ("projection output", 2, 10)


def test_tables_spell_cells_as_matrix_and_operations():
    full = {"ops": f"input,{C1},{C3},{C3},{C3},{MP},output"}
    rows = ["0111010", "0000001", "0000001", "0000100", "0000001", "0000001", "0000000"]
    # The same cell as README; leading zeros go where the matrix is kept as a number.
    assert SPACE.spell(full | {"adjacency": "".join(rows)}) == README
    assert SPACE.spell(full | {"adjacency": str(int("".join(rows)))}) == README
    for row, reason in (
        (full | {"adjacency": "1" * 49}, "the matrix must be upper triangular"),
        (full | {"adjacency": "1" * 50}, "the matrix of 7 operations has 49 digits 0 or 1"),
        (full | {"adjacency": "1e15"}, "the matrix of 7 operations has 49 digits 0 or 1"),
        ({"ops": f"{C1},output", "adjacency": "0100"}, "the matrix of 2 operations has 4 digits"),
        ({"ops": "input,conv5x5,output", "adjacency": "010001000"}, "'conv5x5' is none of input, .*write ops like"),
        ({"ops": "['input', 'output']", "adjacency": "0100"}, r"\['input'' is none of input, .*write ops like input,"),
    ):
        with pytest.raises(InputError, match=reason):
            SPACE.spell(row)


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        ("", "write it like"),
        (7, "write it like"),
        (f"{C3}:1", "write it like"),
        (f"{C3}:1|output:011", "write it like"),
        (f"{C3}:2|output:01", "write it like"),
        (f"{C3}:1|output:01|", "write it like"),
        ("conv5x5:1|output:01", f"'conv5x5' is none of its operations {C3}, {C1}, {MP}"),
        (f"{MP}:1|output:00", "no path leads from the input to the output"),
        ("|".join(f"{MP}:{'0' * v}1" for v in range(6)) + "|output:0000001", "it has 8 vertices, and 7 are allowed"),
        ("|".join(f"{MP}:{'1' * v}" for v in range(1, 5)) + "|output:10001", "it has 12 edges on paths to the output"),
    ],
)
def test_other_strings_are_refused(arch, reason):
    for method in (SPACE.parse, SPACE.canonical, SPACE.graph, SPACE.network, SPACE.cost):
        with pytest.raises(InputError, match=f"is not an nb101 arch; {reason}"):
            method(arch)


def test_nine_edges_are_counted_without_those_of_dead_vertices():
    dead = f"{MP}:1|{MP}:11|{MP}:111|{C3}:0001|{C1}:00011|output:000010"
    assert sum(bits.count("1") for bits in dead.split(":")[1:]) > 9
    assert SPACE.canonical(dead) == SPACE.canonical(f"{MP}:1|{MP}:11|{MP}:111|{C3}:0001|output:00001")


def test_drawn_cells_are_canonical_and_mostly_of_seven_vertices():
    sample = SPACE.sample(120, seed=3)
    assert [SPACE.canonical(arch) for arch in sample] == sample
    sizes = [len(SPACE.graph(arch).operations) for arch in sample]
    # 359,082 of 423,624 classes have seven vertices; three standard deviations.
    assert sizes.count(7) == pytest.approx(120 * 0.848, abs=3 * (120 * 0.848 * 0.152) ** 0.5)


def test_classes_of_isomorphic_cells_are_drawn_alike(monkeypatch):
    """The 84 classes of four vertices, which have one or two orders, and one or two automorphisms."""
    monkeypatch.setattr(nb101, "CLASSES", (0, 0, 84, 0, 0, 0))
    monkeypatch.setattr(nb101, "SIZE", 84)
    generator = np.random.default_rng(0)
    counts = Counter(SPACE.draw(generator) for _ in range(84 * 50))
    assert len(counts) == 84
    statistic = sum((count - 50) ** 2 / 50 for count in counts.values())
    # Chi-squared with 83 degrees of freedom lies below 120 in all but half a percent of all cases.
    assert statistic < 120


def test_a_mutation_changes_an_operation_or_an_edge_or_adds_a_vertex():
    arch = f"{C3}:1|{C1}:01|{MP}:100|output:0011"
    matrix, names = SPACE.graph(arch).adjacency, SPACE.graph(arch).operations
    kinds = set()
    for seed in range(150):
        graph = SPACE.graph(SPACE.mutate(arch, seed))
        if graph.operations == names:
            assert (graph.adjacency != matrix).sum() == 1
            kinds.add("edge")
        elif len(graph.operations) == len(names):
            assert sum(a != b for a, b in zip(graph.operations, names, strict=True)) == 1
            assert (graph.adjacency == matrix).all()
            kinds.add("operation")
        elif len(graph.operations) > len(names):
            new = next(
                v for v in range(1, 5)
                if (np.delete(np.delete(graph.adjacency, v, 0), v, 1) == matrix).all()
                and (*graph.operations[:v], *graph.operations[v + 1 :]) == names
            )  # fmt: skip
            assert graph.adjacency[new].sum() == graph.adjacency[:, new].sum() == 1
            kinds.add("more")
        else:
            kinds.add("fewer")  # a vertex that lost its only edge is dead
    assert kinds == {"edge", "operation", "more", "fewer"}
    # The smallest cell can only grow, and the largest neither grows nor gains an edge.
    assert all(SPACE.mutate(DIRECT, seed).count(":") == 2 for seed in range(20))
    assert all(len(SPACE.parse(SPACE.mutate(CHAIN, seed))[0]) <= 7 for seed in range(20))
