"""PINAT: its parts written out, permutation invariance, padding, positions."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graphs import batch, padded, permuted

from parzc.models.pinat import PINAT, WALKS, Neighbours, PINATLayer, positions


def encoder(**options):
    torch.manual_seed(0)
    sizes = {"d_word_model": 16, "d_inner": 24, "d_kv": 8, "pine_hidden": 6, "n_layers": 2}
    model = PINAT(5, **sizes | options).eval()
    # Positions start without effect.
    torch.nn.init.normal_(model.place.weight)
    return model


@pytest.mark.parametrize("options", [{}, {"n_head": 3}, {"n_layers": 5, "n_head": 8}])
def test_the_order_of_the_vertices_changes_nothing(options):
    model, graphs = encoder(**options), batch(sizes=[6, 9, 4])
    expected = model(*graphs)
    for seed in range(3):
        torch.testing.assert_close(model(*permuted(graphs, seed)), expected, atol=1e-5, rtol=0)
    assert (expected[0] - expected[1]).abs().max() > 1e-2


def test_padding_changes_nothing():
    model, graphs = encoder(), batch(sizes=[3, 6, 4])
    expected = model(*graphs)
    torch.testing.assert_close(model(*padded(graphs, 11)), expected, atol=1e-5, rtol=0)
    for row, size in enumerate([3, 6, 4]):
        operations, adjacency, mask = (x[row : row + 1, :size] for x in graphs)
        alone = model(operations, adjacency[:, :, :size], mask)
        torch.testing.assert_close(expected[row : row + 1], alone, atol=1e-5, rtol=0)


def test_operations_edges_and_their_direction_matter():
    model, (operations, adjacency, mask) = encoder(), batch(sizes=[6, 6])
    expected = model(operations, adjacency, mask)
    changes = [
        (operations.roll(1, dims=2), adjacency),
        (operations, adjacency.transpose(1, 2)),
        (operations, adjacency & (torch.arange(6) != 5)),
    ]
    for other in changes:
        assert (model(*other, mask) - expected).abs().max() > 1e-3


def test_a_layer_is_attention_and_neighbours_side_by_side():
    torch.manual_seed(1)
    layer = PINATLayer(d_model=12, n_head=5, pine_hidden=4, d_kv=3, d_inner=7, dropout=0.4).eval()
    _, adjacency, mask = batch(sizes=[5, 4])
    x, edges = torch.randn(2, 5, 12), adjacency.float()
    assert len(layer.neighbours) == 2
    normed = F.layer_norm(x, (12,))
    query, key, value = layer.project(normed).split(9, dim=2)
    heads = []
    for head in range(3):
        q, k, v = (part[:, :, 3 * head : 3 * head + 3] for part in (query, key, value))
        scores = (q @ k.transpose(1, 2) / math.sqrt(3)).masked_fill(~mask[:, None, :], -torch.inf)
        heads.append(scores.softmax(2) @ v)
    heads += [head(normed, edges) for head in layer.neighbours]
    after = x + layer.join(torch.cat(heads, dim=2))
    up, _, down = layer.feed_forward
    expected = after + down(torch.relu(up(F.layer_norm(after, (12,)))))
    torch.testing.assert_close(layer(x, edges, mask), expected)


def test_neighbours_are_a_function_of_two_sets():
    torch.manual_seed(2)
    module = Neighbours(width=4, hidden=3, out=2)
    (_, adjacency, _), x = batch(sizes=[6]), torch.randn(1, 6, 4)
    before, after = (lambda v: torch.relu(module.each(v))[:3]), (lambda v: torch.relu(module.each(v))[3:])
    for vertex in range(6):
        read = sum((before(x[0, u]) for u in range(6) if adjacency[0, u, vertex]), torch.zeros(3))
        readers = sum((after(x[0, u]) for u in range(6) if adjacency[0, vertex, u]), torch.zeros(3))
        expected = module.out(torch.cat([x[0, vertex], read, readers]))
        torch.testing.assert_close(module(x, adjacency.float())[0, vertex], expected)


def test_positions_are_return_probabilities_and_degrees():
    # 0 -> 1 -> 2 and 0 -> 2 is a triangle of walks; 3 stands alone.
    adjacency = torch.zeros(1, 4, 4)
    adjacency[0, 0, 1] = adjacency[0, 1, 2] = adjacency[0, 0, 2] = 1
    found = positions(adjacency)[0]
    # Back after k steps on a triangle: (1 + 2 (-1/2)^k) / 3.
    expected = [(1 + 2 * (-0.5) ** k) / 3 for k in range(1, WALKS + 1)]
    for vertex in range(3):
        np.testing.assert_allclose(found[vertex, :WALKS], expected, atol=1e-6)
    degrees = [[0, 2], [1, 1], [2, 0], [0, 0]]
    np.testing.assert_allclose(found[:, WALKS:], np.log1p(degrees), rtol=1e-6)
    assert found[3].tolist() == [0] * (WALKS + 2)


def test_vertices_enter_by_convolutions_and_positions():
    model, (operations, adjacency, mask) = encoder(n_layers=0, convolutions=1), batch(sizes=[6, 4])
    seen = model.convolutions(operations, adjacency, mask)
    places = positions(adjacency.float()) @ model.place.weight.T
    for row, size in enumerate([6, 4]):
        mean = (seen + places)[row, :size].mean(0)
        expected = (mean - mean.mean()) / (mean.var(unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(model(operations, adjacency, mask)[row], expected, atol=1e-5, rtol=0)


def test_positions_start_without_effect():
    model = PINAT(5)
    assert not model.place.weight.any() and not model.place.bias.any()


def test_one_vertex_is_a_graph():
    operations, adjacency, mask = (x[:, :1] for x in batch(sizes=[2]))
    assert torch.isfinite(encoder()(operations, adjacency[:, :, :1], mask)).all()


def test_shapes_gradients_and_large_graphs():
    model = encoder().train()
    operations, adjacency, mask = batch(sizes=[6, 130])
    out = model(operations, adjacency, mask)
    assert out.shape == (2, 16) and model.dim == 16
    (out * torch.arange(16)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert not torch.equal(model(operations, adjacency, mask), model(operations, adjacency, mask))
