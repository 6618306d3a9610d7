"""Networks of partial architectures: with one operation for each edge they are the networks of the space."""

from dataclasses import replace

import pytest
import torch

from parzc.datasets import Size, get_space

NB201, DARTS = get_space("nb201"), get_space("darts")
CELL = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
GENOTYPE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_5x5', 0), ('max_pool_3x3', 2), "
    "('sep_conv_5x5', 1), ('avg_pool_3x3', 3), ('skip_connect', 0), ('dil_conv_3x3', 4)], normal_concat=range(2, 6), "
    "reduce=[('skip_connect', 0), ('sep_conv_5x5', 1), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('sep_conv_3x3', 0), ('avg_pool_3x3', 1), ('dil_conv_5x5', 2), ('skip_connect', 4)], reduce_concat=range(2, 6), "
    "width=4, depth=4)"
)


def edges_of_darts(arch):
    genotype = DARTS.parse(arch)
    return {
        f"{kind} {source}-{node}": operation
        for kind, cell in (("normal", genotype.normal), ("reduce", genotype.reduce))
        for node in cell.nodes
        for operation, source in cell.into(node)
    }


CASES = {
    "nb201": (NB201, CELL, NB201.decompose(CELL), "whole"),
    "darts": (DARTS, GENOTYPE, edges_of_darts(GENOTYPE), Size(4, 4)),
}


def built(name, partial, seed=0, size=None):
    space, _, _, usual = CASES[name]
    size = size or usual
    return space.supernet.build(partial, 10, space.supernet.sizes[size] if isinstance(size, str) else size, seed).eval()


def with_weights_of(own, supernet, chosen):
    """Copy the weights of the space's own network; behind an edge, names of the supernet hold the operation, too."""
    state = dict(own.state_dict())
    renamed = {}
    for name in supernet.state_dict():
        plain = name
        for operation in set(chosen.values()):
            plain = plain.replace(f".{operation}.", ".") if ".edges." in name else plain
        renamed[name] = state.pop(plain)
    assert not state
    supernet.load_state_dict(renamed)
    return supernet


@pytest.mark.parametrize("name", CASES)
def test_one_operation_for_each_edge_is_the_network_of_the_space(name):
    space, arch, chosen, _ = CASES[name]
    own = space.network(arch, "cifar10", 3).eval()
    supernet = with_weights_of(own, built(name, {edge: {op: 1.0} for edge, op in chosen.items()}), chosen)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(supernet(x), own(x))
    kept = {edge: op for edge, op in chosen.items() if op != "none"}
    composed = space.parse(space.compose(space.supernet.choices(kept)))
    assert composed == (replace(space.parse(arch), width=32, depth=8) if name == "darts" else space.parse(arch))


@pytest.mark.parametrize("name", CASES)
def test_a_place_holds_the_same_weights_whatever_is_alive(name):
    space = CASES[name][0]
    small = "small"
    every = {edge: dict.fromkeys(ops, 1 / len(ops)) for edge, ops in space.supernet.edges.items()}
    edge = next(iter(every))
    fewer = {**every, edge: {op: weight for op, weight in every[edge].items() if "3x3" not in op}}
    whole, part = (built(name, partial, 5, small).state_dict() for partial in (every, fewer))
    assert set(part) < set(whole) and all(torch.equal(part[key], whole[key]) for key in part)
    other = built(name, every, 6, small).state_dict()
    assert any(not torch.equal(other[key], whole[key]) for key in whole)


def test_an_edge_is_the_weighted_sum_of_its_operations():
    cell = built("nb201", {"0-3": {"skip_connect": 0.25, "nor_conv_1x1": 0.5, "none": 0.25}}, size="small").cells[0]
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cell(x), 0.25 * x + 0.5 * cell.edges["0-3"]["nor_conv_1x1"](x))
    cut = built("nb201", {"0-3": {}, "0-1": {"skip_connect": 1.0}}, size="small").cells[0]
    assert torch.equal(cut(x), torch.zeros_like(x))


def test_sizes_are_those_of_te_nas():
    small, thin = (built("nb201", {"0-3": {"nor_conv_3x3": 1.0}}, size=size) for size in ("small", "thin"))
    assert small.stem[0].weight.shape == (3, 3, 3, 3) and len(small.cells) == 5
    assert [p.shape[0] for p in thin.cells[0].parameters()] == [1, 1, 1]
    assert thin(torch.ones(2, 1, 3, 3)).shape == (2, 10)


def test_edges_of_darts_are_those_of_its_search_network():
    supernet = DARTS.supernet
    assert [len(cell) for cell in supernet.cells] == [14, 14] and len(supernet.edges) == 28
    assert all(len(operations) == 7 for operations in supernet.edges.values())
    assert supernet.nodes["normal 2"] == ("normal 0-2", "normal 1-2") and len(supernet.nodes["reduce 5"]) == 5


def test_spaces_without_a_supernet_have_none():
    assert get_space("nats-sss").supernet is None and get_space("nds-darts").supernet is None
