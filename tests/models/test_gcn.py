"""The graph convolutional encoder against explicit matrix products, its directions, padding and order."""

import numpy as np
import pytest
import torch
from graphs import batch, padded, permuted

from parzc.models.gcn import GCN


def encoder(**options):
    torch.manual_seed(0)
    return GCN(5, **{"dim": 6, "depth": 2} | options).eval()


def convolved(adjacency, x, weight):
    """Equation (1) with loops: every vertex takes from the columns where its row is set."""
    looped = np.array(adjacency, dtype=float) + np.eye(len(adjacency))
    out = np.zeros((len(x), len(weight)))
    for i in range(len(x)):
        for j in range(len(x)):
            norm = np.sqrt(looped[i].sum() * looped[j].sum())
            out[i] += looped[i, j] / norm * (weight @ x[j])
    return np.maximum(out, 0)


def test_it_is_the_update_of_the_paper_both_ways():
    model, (operations, adjacency, mask) = encoder(), batch(sizes=[6])
    x, edges = operations[0].numpy().astype(float), adjacency[0].numpy()
    for along, against in zip(model.along, model.against, strict=True):
        ahead = convolved(edges.T, x, along.lin.weight.detach().double().numpy())
        back = convolved(edges, x, against.lin.weight.detach().double().numpy())
        x = (ahead + back) / 2
    got = model(operations, adjacency, mask)[0].detach().numpy()
    np.testing.assert_allclose(got, normalised(x.mean(0)), rtol=1e-4, atol=1e-5)


def normalised(values):
    """Layer norm of an untrained layer."""
    return (values - values.mean()) / np.sqrt(values.var() + 1e-5)


def pooled(model):
    """Leave out the norm behind the mean over vertices."""
    model.norm = torch.nn.Identity()
    return model


def silence(convolutions):
    for convolution in convolutions:
        torch.nn.init.zeros_(convolution.lin.weight)


def effects(model):
    """How strongly the label of vertex `i` of the path 0 -> 1 -> 2 -> 3 acts on vertex `j` after all layers."""
    adjacency = torch.diag(torch.ones(3), 1)[None]
    # Positive weights: nothing is lost to a ReLU.
    for convolution in [*model.along, *model.against]:
        convolution.lin.weight.data.abs_()

    def vertices(x):
        for along, against in zip(model.along, model.against, strict=True):
            x = (along(x, adjacency.transpose(1, 2)) + against(x, adjacency)) / 2
        return x[0]

    x = torch.eye(5)[:4][None]
    jacobian = torch.autograd.functional.jacobian(vertices, x)[:, :, 0]
    return jacobian.abs().sum((1, 3)).T > 1e-6


@pytest.mark.parametrize(("depth", "reach"), [(1, 1), (2, 2), (3, 3)])
def test_information_flows_along_the_data(depth, reach):
    model = encoder(depth=depth)
    silence(model.against)
    expected = [[0 <= j - i <= reach for j in range(4)] for i in range(4)]
    assert effects(model).tolist() == expected


def test_and_back():
    model = encoder()
    silence(model.along)
    assert effects(model).tolist() == [[0 <= i - j <= 2 for j in range(4)] for i in range(4)]


def test_one_step_along_a_path_by_hand():
    # One channel for each label and unit weights: vertex j of 0 -> 1 gets itself and what it reads from, over the
    # roots of the numbers of terms: 1 / sqrt(1 * 1) for the first, 1 / 2 and 1 / sqrt(2 * 1) for the second.
    model = pooled(GCN(2, dim=2, depth=1))
    model.along[0].lin.weight.data = torch.eye(2)
    silence(model.against)
    out = model(torch.eye(2)[None], torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(2 * out[0], torch.tensor([(1 + 2**-0.5) / 2, 0.25]))


def test_the_direction_of_an_edge_matters():
    model, (operations, adjacency, mask) = encoder(), batch(sizes=[6, 6])
    turned = model(operations, adjacency.transpose(1, 2), mask)
    assert (turned - model(operations, adjacency, mask)).abs().max() > 1e-4


def test_padding_changes_nothing():
    model, graphs = encoder(), batch(sizes=[3, 6, 4])
    torch.testing.assert_close(model(*padded(graphs, 11)), model(*graphs), atol=1e-6, rtol=0)
    for row, size in enumerate([3, 6, 4]):
        operations, adjacency, mask = (x[row : row + 1, :size] for x in graphs)
        alone = model(operations, adjacency[:, :, :size], mask)
        torch.testing.assert_close(model(*graphs)[row : row + 1], alone, atol=1e-6, rtol=0)


def test_the_order_of_the_vertices_changes_nothing():
    model, graphs = encoder(depth=3), batch(sizes=[6, 8, 5])
    torch.testing.assert_close(model(*permuted(graphs)), model(*graphs), atol=1e-6, rtol=0)


def test_isolated_vertices_are_finite_and_count_in_the_mean():
    model = pooled(GCN(1, dim=1, depth=1))
    model.along[0].lin.weight.data.fill_(2.0)
    model.against[0].lin.weight.data.fill_(4.0)
    nothing = torch.zeros(1, 3, 3, dtype=torch.bool)
    labels = torch.tensor([[[1.0], [1.0], [0.0]]])
    assert model(labels, nothing, torch.tensor([[True, True, True]])).item() == pytest.approx(2.0)
    assert model(labels, nothing, torch.tensor([[True, True, False]])).item() == pytest.approx(3.0)


def test_shapes_and_gradients():
    model = GCN(5, dim=12, depth=3, dropout=0.5)
    operations, adjacency, mask = batch(sizes=[6, 130])
    out = model(operations, adjacency, mask)
    assert out.shape == (2, 12) and model.dim == 12
    out.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert not torch.equal(model(operations, adjacency, mask), model(operations, adjacency, mask))
