"""The mixer: written-out blocks, real mixing across segments, and what a small one can learn."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from parzc.evaluation.metrics import kendall_tau
from parzc.models.bayesian import BayesianLinear, sample_weights
from parzc.models.mixer import MABN, MixerBlock
from parzc.ranker.losses import diff_kendall


def small(seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"segments": 4, "segment_size": 8, "dim": 32, "depth": 2, "dropout": 0.0} | options
    return MABN(20, **sizes)


def samples(n, features=20, seed=4):
    return torch.rand(n, features, generator=torch.Generator().manual_seed(seed))


class Nothing(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


def without_segment_mixing(model):
    for block in model.blocks:
        block.segment_mixer = Nothing()
    return model


def test_block_equals_the_equations():
    torch.manual_seed(0)
    block = MixerBlock(segments=3, dim=6, dropout=0.3).eval()
    x = torch.randn(2, 3, 6)
    into, _, out = block.segment_mixer
    down, _, _, up, _, _ = block.channel_mixer
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    # einsum over the segment axis s, with the hidden axis h of the segment part.
    hidden = F.gelu(torch.einsum("bsd,hs->bhd", normed, into.weight) + into.bias[:, None])
    mixed = normed + torch.einsum("bhd,sh->bsd", hidden, out.weight) + out.bias[:, None]
    again = F.layer_norm(mixed, (6,))
    expected = mixed + F.relu(F.relu(again @ down.weight.T + down.bias) @ up.weight.T + up.bias)
    torch.testing.assert_close(block(x), expected)


def test_block_sizes_follow_the_expansions():
    block = MixerBlock(segments=16, dim=512)
    linears = [m.weight.shape for m in block.modules() if isinstance(m, nn.Linear)]
    assert linears == [(64, 16), (16, 64), (256, 512), (512, 256)]
    deeper = MixerBlock(segments=16, dim=512, channel_layers=3).channel_mixer
    assert [type(m).__name__ for m in deeper] == ["Linear", "ReLU", "Dropout"] * 3
    assert [m.weight.shape for m in deeper if isinstance(m, nn.Linear)] == [
        (256, 512),
        (256, 256),
        (512, 256),
    ]
    with pytest.raises(ValueError, match="channel_layers must be at least 2"):
        MixerBlock(segments=2, dim=4, channel_layers=1)


def test_default_sizes_and_parameter_count():
    model = MABN(294)
    block = (16 * 64 + 64) + (64 * 16 + 16) + (512 * 256 + 256) + (256 * 512 + 512) + 4 * 512
    expected = (294 * 256 + 256) + 2 * (16 * 512 + 512) + 4 * block + 2 * (16 + 1)
    assert sum(p.numel() for p in model.parameters()) == expected
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.18] * 8
    assert sum(isinstance(m, BayesianLinear) for m in model.modules()) == 2


def test_shapes_and_head():
    model = small().eval()
    x = samples(5)
    pooled = model.embed(x)
    assert pooled.shape == (5, 4)
    expected = pooled @ model.head.weight_mu[0] + model.head.bias_mu[0]
    torch.testing.assert_close(model(x), expected)
    assert model(x).shape == (5,)
    assert model(x[:1]).shape == (1,)


def test_rows_do_not_affect_each_other():
    model, x = small().eval(), samples(6)
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]))


def segment_jacobian(model):
    """Size of the effect of segment j (before the blocks) on pooled segment i, `(S, S)`."""
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    jacobian = torch.autograd.functional.jacobian(lambda h: model.blocks(h[None])[0].mean(-1), x)
    return jacobian.abs().sum(-1)


def test_every_segment_sees_every_other_one_and_only_through_the_mixer():
    effect = segment_jacobian(small().eval())
    assert (effect > 1e-5).all()
    apart = segment_jacobian(without_segment_mixing(small().eval()))
    assert torch.equal(apart - torch.diag(apart.diagonal()), torch.zeros(4, 4))


def test_permuted_segments_change_the_values_and_not_only_their_places():
    order = torch.tensor([2, 0, 3, 1])
    x = samples(6)

    def difference(model):
        plain = model.embed(x)
        handle = model.lift.register_forward_hook(lambda _module, _args, out: out[:, order])
        permuted = model.embed(x)
        handle.remove()
        return (permuted - plain[:, order]).abs().max().item()

    assert difference(small().eval()) > 1e-2
    assert difference(without_segment_mixing(small().eval())) < 1e-6


def test_every_parameter_gets_a_gradient():
    model = small(dropout=0.18)
    model(samples(16)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_evaluation_is_deterministic_and_training_is_not():
    model, x = small(dropout=0.18), samples(5)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    with sample_weights(model, 3):
        first = model(x)
    with sample_weights(model, 3):
        assert torch.equal(model(x), first)
    assert not torch.equal(model(x), first)


def test_overfits_random_labels_to_perfect_order():
    model = small()
    x, labels = samples(20), torch.randn(20, generator=torch.Generator().manual_seed(9))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        diff_kendall(model(x), labels).backward()
        optimizer.step()
    with torch.no_grad():
        assert kendall_tau(model.eval()(x).numpy(), labels.numpy()) == 1.0


def test_outputs_widen_the_head_alone():
    model, wide = small().eval(), small(outputs=3).eval()
    x = samples(5)
    torch.testing.assert_close(wide.embed(x), model.embed(x))
    assert wide(x).shape == (5, 3)
    torch.testing.assert_close(wide(x), wide.embed(x) @ wide.head.weight_mu.T + wide.head.bias_mu)
