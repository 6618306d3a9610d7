"""The weights inside multi-head attention."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.features.passes.passes import Passes


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        keys = self.keys(x)
        return self.head(self.attention(x, keys, keys, need_weights=False)[0].mean(1))


class SelfAttention(Attention):
    def keys(self, x):
        return x


class CrossAttention(Attention):
    def keys(self, x):
        return x.flip(1) * 2


@pytest.mark.parametrize("network_class", [SelfAttention, CrossAttention])
def test_the_weights_of_multihead_attention_are_nodes(network_class):
    torch.manual_seed(0)
    network = network_class()
    x, labels = torch.randn(4, 5, 8), torch.tensor([0, 1, 2, 0])
    passes = Passes(network, x, labels)
    found = {node.name: node.gradient for node in passes.gradients}
    F.cross_entropy(network(x), labels).backward()
    projection = network.attention.in_proj_weight.grad
    assert projection.abs().max() > 1e-3
    parts = {name: gradient for name, gradient in found.items() if "in_proj" in name}
    torch.testing.assert_close(torch.cat(list(parts.values())), projection)
    torch.testing.assert_close(found["attention.out_proj"], network.attention.out_proj.weight.grad)
    torch.testing.assert_close(found["head"], network.head.weight.grad)
    assert sum(node.macs for node in passes.forward) == 4 * (8 * 8 + 8) * 5 + 3 * 9
    assert len(parts) == (1 if network_class is SelfAttention else 2)
