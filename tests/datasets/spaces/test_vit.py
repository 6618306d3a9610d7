"""The vision transformer of AutoFormer, against formulas written out."""

import torch
from torch import nn
from torch.nn import functional as F

from parzc.datasets.spaces._base import initialise
from parzc.datasets.spaces._vit import Attention, Embedding, RelativePositions, VisionTransformer


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_relative_positions_are_those_of_the_distance():
    """A grid of 3 by 3 patches and the class token."""
    positions = RelativePositions()
    found = positions(10)
    for i in range(10):
        for j in range(10):
            (y, x), (v, u) = divmod(i - 1, 3), divmod(j - 1, 3)
            row, column = (v - y + 15, u - x + 15) if i and j else (0, 0)
            assert torch.equal(found[i, j], positions.vertical[row] + positions.horizontal[column])
    assert found.shape == (10, 10, 64)


def test_far_patches_share_the_outermost_position():
    positions = RelativePositions()
    found = positions(1 + 16 * 16)
    torch.testing.assert_close(found[1, 16], positions.vertical[15] + positions.horizontal[29])
    torch.testing.assert_close(found[16, 1], positions.vertical[15] + positions.horizontal[1])


def test_attention_token_by_token():
    attention, x = Attention(12, 2), noise(2, 5, 12)
    with torch.no_grad():
        attention.proj.bias.copy_(noise(12))
        attention.key_positions.vertical.copy_(noise(30, 64, seed=1))
        attention.value_positions.horizontal.copy_(noise(30, 64, seed=2))
    keys, values = attention.key_positions(5), attention.value_positions(5)
    expected = torch.empty(2, 5, 12)
    for b in range(2):
        qkv = F.linear(x[b], attention.qkv.weight, attention.qkv.bias)
        for i in range(5):
            read = []
            for h in range(2):
                q, k, v = (qkv[:, part * 128 + h * 64 : part * 128 + (h + 1) * 64] for part in range(3))
                scores = torch.stack([q[i] @ (k[j] + keys[i, j]) / 8 for j in range(5)]).softmax(0)
                read.append(sum(scores[j] * (v[j] + values[i, j]) for j in range(5)))
            expected[b, i] = F.linear(torch.cat(read), attention.proj.weight, attention.proj.bias)
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-4)


def test_tokens_are_patches_behind_a_class_token():
    embedding, x = Embedding(6, 4), noise(2, 3, 32, 32)
    tokens = embedding(x)
    assert tokens.shape == (2, 5, 6)
    with torch.no_grad():
        embedding.patches.bias.copy_(noise(6))
        patch = (embedding.patches.weight * x[1, :, 16:, :16]).sum((1, 2, 3)) + embedding.patches.bias
        torch.testing.assert_close(embedding(x)[1, 3], patch + embedding.positions[0, 3], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(tokens[0, 0], embedding.class_token[0, 0] + embedding.positions[0, 0])


def test_logits_are_of_the_mean_over_the_patches():
    network, x = VisionTransformer(8, [1, 2], [20, 24], 32, 3), noise(2, 3, 32, 32)
    tokens = network.embedding(x)
    for layer in network.layers:
        tokens = tokens + layer.attention(layer.norm_1(tokens))
        hidden = F.linear(layer.norm_2(tokens), layer.fc1.weight, layer.fc1.bias)
        active = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        tokens = tokens + F.linear(active, layer.fc2.weight, layer.fc2.bias)
    features = F.layer_norm(tokens, (8,), network.norm.weight, network.norm.bias)[:, 1:].mean(1)
    torch.testing.assert_close(network(x), features @ network.classifier.weight.T, atol=1e-5, rtol=1e-4)


def test_weights_start_as_published():
    network = initialise(lambda: VisionTransformer(192, [3], [768], 224, 10), seed=0)
    for name, p in network.named_parameters():
        if "norm" in name:
            assert torch.equal(p, torch.full_like(p, float(name.endswith("weight"))))
        elif name.endswith("bias") and "patches" not in name:
            assert not p.any()
        elif "patches" not in name:
            assert abs(p.std() - 0.02) < 0.002 and abs(p.mean()) < 0.004, name
    assert isinstance(network.embedding.patches, nn.Conv2d)
