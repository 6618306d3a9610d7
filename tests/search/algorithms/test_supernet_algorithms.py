"""Perturbation and pruning on a small made supernet: by hand, and against slow programs."""

from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import nn

import parzc
from parzc import Choices
from parzc.datasets import Size, Supernet, Task, get_space
from parzc.datasets.spaces._cell_costs import Family
from parzc.datasets.spaces._cell_space import CellSpace
from parzc.datasets.spaces._cell_supernet import CellSupernet
from parzc.errors import InputError
from parzc.search.algorithms import get_algorithm
from parzc.search.history import History
from parzc.search.pool import Pool
from parzc.search.supernets import Inputs, ranks
from parzc.search.training_free import TrainingFreeSearch

OPERATIONS = ("none", "one", "two", "three")
EDGES = ("a", "b", "c")
WIDTH = 6


def operation(name):
    layers = []
    for _ in range(OPERATIONS.index(name)):
        layers += [nn.Linear(WIDTH, WIDTH, bias=False), nn.ReLU()]
    return nn.Sequential(*layers)


class Net(nn.Module):
    """Three edges from the mean colour to their sum; each is a weighted sum of linear maps."""

    def __init__(self, partial, classes):
        super().__init__()
        self.partial = {e: {op: w for op, w in ops.items() if op != "none"} for e, ops in partial.items()}
        self.first = nn.Linear(3, WIDTH)
        self.edges = nn.ModuleDict(
            {e: nn.ModuleDict({op: operation(op) for op in ops}) for e, ops in self.partial.items()}
        )
        self.last = nn.Linear(WIDTH, classes)

    def forward(self, x):
        x = self.first(x.flatten(2).mean(2))
        found = torch.zeros_like(x)
        for edge, operations in self.partial.items():
            for op, weight in operations.items():
                found = found + weight * self.edges[edge][op](x)
        return self.last(found)


class Made(Supernet):
    edges = MappingProxyType(dict.fromkeys(EDGES, OPERATIONS))
    cells = (EDGES[:2], EDGES[2:])
    sizes = MappingProxyType({"whole": Size(WIDTH, 1), "small": Size(WIDTH, 1), "thin": Size(WIDTH, 1)})

    def build(self, partial, classes, size, seed):  # noqa: ARG002
        return parzc.datasets.initialise(lambda: Net(partial, classes), seed)

    def choices(self, chosen):
        return {edge: chosen.get(edge, "cut") for edge in EDGES}


class Few(Made):
    """Of the three edges, the node keeps two."""

    nodes = MappingProxyType({"sum": EDGES})
    inputs = 2


def build(a, b, c):
    return Net({e: {op: 1.0} for e, op in zip(EDGES, (a, b, c), strict=True) if op != "cut"}, 4)


def made(supernet=None):
    choices = dict.fromkeys(EDGES, (*OPERATIONS, "cut"))
    space = Choices(build, choices, name="made", input_shape=(3, 4, 4), classes=4)
    space.supernet = supernet or Made()
    return space


def ask(space, name, seed=0, n=1, **settings):
    pool = Pool(space)
    return get_algorithm(name, **settings).ask(History(), pool, n, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", [0, 1])
def test_by_parameters_the_largest_operation_of_each_edge_stays(seed):
    # Without the largest, the fewest parameters are left; what leaves the most is pruned first.
    largest = made().canonical("a=three,b=three,c=three")
    assert ask(made(), "perturbation", seed, score="params", batch=2) == [largest]
    assert ask(made(), "pruning", seed, score="params", batch=2, repeats=1) == [largest]


def test_of_a_node_those_edges_stay_without_which_the_score_is_lowest():
    class Unequal(Few):
        edges = MappingProxyType({"a": ("three",), "b": ("one",), "c": ("two",)})

    expected = made().canonical("a=three,b=cut,c=two")
    for name in ("perturbation", "pruning"):
        assert ask(made(Unequal()), name, score="params", batch=2) == [expected]


def value(partial, proxy, batch, seed):
    """A proxy of a partial architecture, bigger is better; minus infinity where it is undefined."""
    network = parzc.datasets.initialise(lambda: Net(partial, 4), seed)
    score = parzc.score(network, batch[0], [proxy], batch[1], seed)[proxy]
    sign = 1 if parzc.features.proxy_info(proxy).bigger_is_better else -1
    return -np.inf if np.isnan(score) else sign * score


def slow_perturbation(space, proxy, size, seed):
    """Zero-Cost-PT step by step; what it draws is drawn as `Perturbation` does."""
    rng, inputs, supernet = np.random.default_rng(seed), Inputs(space, ""), space.supernet
    weights = int(rng.integers(2**31))
    state = {edge: dict.fromkeys(OPERATIONS, 0.25) for edge in EDGES}
    first, second = ([cell[i] for i in rng.permutation(len(cell))] for cell in supernet.cells)
    for step in range(2):
        batch = inputs.draw(size, rng)
        for edge in [first[step], *second[step : step + 1]]:
            scores = {}
            for op in OPERATIONS:
                rest = {o: w for o, w in state[edge].items() if o != op}
                scores[op] = value({**state, edge: rest}, proxy, batch, weights)
            state[edge] = {min(OPERATIONS, key=lambda op: scores[op]): 1.0}
    if supernet.nodes:
        rng.permutation(1)
        batch = inputs.draw(size, rng)
        scores = {edge: value({**state, edge: {}}, proxy, batch, weights) for edge in EDGES}
        state[sorted(EDGES, key=lambda edge: scores[edge])[2]] = {}
    return space.canonical(",".join(f"{edge}={next(iter(state[edge]), 'cut')}" for edge in EDGES))


@pytest.mark.parametrize("supernet", [Made, Few])
@pytest.mark.parametrize("proxy", ["grad_norm", "ntk", "nwot"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_perturbation_is_zero_cost_pt(supernet, proxy, seed):
    space = made(supernet())
    assert ask(space, "perturbation", seed, score=proxy, batch=5) == [slow_perturbation(space, proxy, 5, seed)]


def slow_pruning(space, seed, batch, regions, repeats):
    """TE-NAS as its paper and code have it; what it draws is drawn as `Pruning` does."""
    rng, inputs = np.random.default_rng(seed), Inputs(space, "")
    alive = {edge: ["one", "two", "three"] for edge in EDGES}

    def mean_changes(proxy, count, shape):
        found = []
        for _ in range(repeats):
            weights, data = int(rng.integers(2**31)), inputs.draw(count, rng, shape)

            def plain(alive, weights=weights, data=data):
                partial = {edge: dict.fromkeys(ops, 1 / len(ops)) for edge, ops in alive.items()}
                found = value(partial, proxy, data, weights)
                return -found if proxy == "ntk" else found

            before = plain(alive)
            found.append([(before - plain({**alive, e: [o for o in alive[e] if o != op]})) / before for e, op in tries])
        return [round(change, 3) for change in np.mean(found, axis=0)]

    while any(len(ops) > 1 for ops in alive.values()):
        tries = [(edge, op) for edge in EDGES for op in alive[edge]]
        kappa = mean_changes("ntk", batch, ())
        lost = mean_changes("linear_regions", regions, (3, 3, 3))
        falling = {change: rank for rank, change in enumerate(sorted(set(kappa), reverse=True))}
        rising = {change: rank for rank, change in enumerate(sorted(set(lost)))}
        sums = {one: falling[k] + rising[r] for one, k, r in zip(tries, kappa, lost, strict=True)}
        for edge in EDGES:
            alive[edge].remove(min(alive[edge], key=lambda op: sums[edge, op]))
    return space.canonical(",".join(f"{edge}={alive[edge][0]}" for edge in EDGES))


@pytest.mark.parametrize("seed", [0, 1])
def test_pruning_is_te_nas(seed):
    found = ask(made(), "pruning", seed, batch=6, regions=40, repeats=2)
    assert found == [slow_pruning(made(), seed, 6, 40, 2)]


def test_dense_ranks_have_no_gaps_and_undefined_changes_come_first():
    assert ranks(np.array([0.5, -1.0, 0.5, 3.0, np.nan])).tolist() == [2, 1, 2, 3, 0]


def test_a_search_takes_the_best_proposal_on_the_validation_batches():
    space, settings = made(), {"batch": 4, "validation": 3}
    history = TrainingFreeSearch(space, "grad_norm", algorithm="perturbation", settings=settings).run(6, seed=5)
    inputs, labels = Inputs(space, "").draw(12, np.random.default_rng(5))
    for trial in history.trials:
        means = parzc.score(space.network(trial.arch, "", 5), inputs, ["grad_norm"], labels, 5, batches=3)
        assert trial.value == means["grad_norm"]
    assert history.best.value == max(trial.value for trial in history.trials)
    proposals = ask(space, "perturbation", [5, 0], 6, score="grad_norm", batch=4)
    assert [trial.arch for trial in history.trials] == proposals and len(set(proposals)) == len(proposals) <= 6


class Cells(CellSpace):
    """The space of DARTS with two nodes and three operations."""

    name = "small-darts"
    family = Family(
        ("max_pool_3x3", "sep_conv_3x3", "dil_conv_3x3"), 2, "all", False, widths=(4,), depths=(3,), default=(4, 3)
    )
    supernet = CellSupernet(family)
    tasks = MappingProxyType({"dots": Task("dots", (3, 8, 8), 4)})


@pytest.mark.parametrize(("name", "settings"), [("pruning", {"repeats": 1, "cut": 2}), ("perturbation", {})])
def test_genotypes_keep_two_inputs_for_each_node(name, settings):
    space = Cells()
    (arch,) = ask(space, name, score="params", batch=1, size="small", **settings)
    genotype = space.parse(arch)
    for kind, cell in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        # By parameters, separable convolutions, two after one another, are the largest operation.
        assert {op for op, _ in cell.edges} == {"sep_conv_3x3"}, kind
        # All edges of a node are equally large.
        assert [len({source for _, source in cell.into(node)}) for node in cell.nodes] == [2, 2]


def test_images_of_a_file_are_drawn_and_cut(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x_train=images, y_train=np.arange(7) % 4)
    drawn, labels = Inputs(made(), "", str(tmp_path / "images.npz")).draw(5, np.random.default_rng(1))
    known = {tuple(image.ravel()): i for i, image in enumerate(images)}
    pixels = (drawn * 0.25 + 0.5).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    rows = [known[tuple(image.ravel())] for image in pixels]
    assert len(set(rows)) == 5 and labels.tolist() == [row % 4 for row in rows]
    part, _ = Inputs(made(), "", str(tmp_path / "images.npz")).draw(9, np.random.default_rng(1), (1, 3, 3))
    assert part.shape == (9, 1, 3, 3)
    with pytest.raises(InputError, match="cannot read images from"):
        Inputs(made(), "", str(tmp_path / "none.npz"))


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("perturbation", {"batch": 0}, "perturbation cannot have batch = 0"),
    ("pruning", {"cut": 0}, "pruning cannot have cut = 0"),
    ("pruning", {"without": "none one two three", "score": "params"}, "no operation is left for the edge a"),
    ("perturbation", {"size": "huge"}, "there is no size 'huge' of supernets"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(name, settings, message):
    with pytest.raises(InputError, match=message):
        ask(made(), name, **settings)


def test_a_space_without_a_supernet_is_refused():
    with pytest.raises(InputError, match="nats-sss has no supernet"):
        ask(get_space("nats-sss"), "pruning")
