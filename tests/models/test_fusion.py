"""The sum of two embeddings and what is made of it."""

import pytest
import torch
from graphs import OPERATIONS, batch
from torch import nn

from parzc.encoding.inputs import Graphs, PaddedInputs
from parzc.models.bayesian import BayesianLinear, kl_divergence, sample_weights
from parzc.models.fusion import GRAPHS, FusedRanker, StatisticsRanker, graph_encoder
from parzc.models.gcn import GCN
from parzc.models.mixer import MABN
from parzc.models.pinat import PINAT

GRAPH_BATCH = batch(sizes=[6, 4, 7])
STATISTICS = torch.rand(3, 20, generator=torch.Generator().manual_seed(4))
INPUTS = PaddedInputs(STATISTICS, Graphs(*GRAPH_BATCH))


def fused(graph="gcn", **options):
    torch.manual_seed(0)
    encoder = graph_encoder(graph, OPERATIONS)
    nodes = MABN(20, segments=4, segment_size=8, dim=32, depth=2, outputs=encoder.dim)
    return FusedRanker(nodes, encoder, encoder.dim, **options)


def test_the_score_is_two_layers_on_the_sum():
    model = fused().eval()
    inside, _, _, last = model.regressor
    added = model.nodes.head(model.nodes.embed(STATISTICS)) + model.graph(*GRAPH_BATCH)
    hidden = (added @ inside.weight.T + inside.bias).clamp(min=0)
    expected = hidden @ last.weight[0] + last.bias
    torch.testing.assert_close(model(INPUTS), expected)
    assert added.shape == hidden.shape == (3, 64) and expected.shape == (3,)


def test_one_network_gets_one_score():
    model = fused().eval()
    torch.testing.assert_close(model(INPUTS[:1]), model(INPUTS)[:1])


def test_without_graphs_there_is_no_score():
    with pytest.raises(ValueError, match=r"^the graphs of the architectures are missing$"):
        fused()(PaddedInputs(STATISTICS))


def test_node_statistics_alone_are_scored_by_their_model():
    model = MABN(20, segments=4, segment_size=8, dim=32, depth=2).eval()
    assert torch.equal(StatisticsRanker(model)(INPUTS), model(STATISTICS))


def test_the_embedding_of_the_nodes_comes_from_the_bayesian_head():
    model = fused().eval()
    assert model.nodes.head.weight_mu.shape == (64, 4)
    assert model.nodes(STATISTICS).shape == (3, 64)
    assert sum(isinstance(module, BayesianLinear) for module in model.modules()) == 2
    assert [type(module) for module in model.regressor] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert kl_divergence(model) == kl_divergence(model.nodes)


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_parameter_gets_a_gradient(graph):
    model = fused(graph)
    model(INPUTS).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("graph", GRAPHS)
def test_evaluation_is_deterministic_and_drawn_weights_are_not(graph):
    model = fused(graph).eval()
    first = model(INPUTS)
    assert torch.equal(model(INPUTS), first)
    with sample_weights(model, 3):
        drawn = model(INPUTS)
    assert not torch.equal(drawn, first)
    with sample_weights(model, 3):
        assert torch.equal(model(INPUTS), drawn)


def test_encoders_are_found_by_name():
    assert type(graph_encoder("gcn", 5, dim=8)) is GCN and type(graph_encoder("pinat", 5, d_word_model=8)) is PINAT
    assert graph_encoder("gcn", 5, dim=8).dim == graph_encoder("pinat", 5, d_word_model=8).dim == 8
