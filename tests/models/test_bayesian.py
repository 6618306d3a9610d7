"""Bayesian layers: closed forms, and the traps of blitz's parameters (each of them kept twice)."""

import copy

import pytest
import torch
import torch.nn.functional as F
from blitz.losses import kl_divergence_from_nn
from blitz.modules.base_bayesian_module import BayesianModule
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from parzc.models.bayesian import BayesianLinear, kl_divergence, sample_weights


def seeded(seed=0, **options):
    torch.manual_seed(seed)
    return BayesianLinear(5, 3, **options)


def inputs(n=7, features=5, dtype=torch.float32):
    return torch.randn(n, features, generator=torch.Generator().manual_seed(11), dtype=dtype)


def mean_prediction(layer, x):
    """The affine map of the means as the state has them, written out."""
    state = layer.state_dict()
    return x @ state["weight_mu"].T + state["bias_mu"]


def check_mean(layer, x):
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x), mean_prediction(layer, x))


@pytest.mark.parametrize(
    ("bias", "shapes"),
    [
        (True, {"weight_mu": (3, 5), "weight_rho": (3, 5), "bias_mu": (3,), "bias_rho": (3,)}),
        (False, {"weight_mu": (3, 5), "weight_rho": (3, 5)}),
    ],
)
def test_state_holds_each_weight_once(bias, shapes):
    layer = seeded(bias=bias)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == shapes
    assert {name: tuple(value.shape) for name, value in layer.named_parameters()} == shapes
    assert sum(p.numel() for p in layer.parameters()) == 2 * (5 * 3 + 3 * bias)
    assert list(layer.buffers()) == []


def test_initial_means_are_uniform_like_linear_and_rho_is_as_given():
    torch.manual_seed(0)
    layer = BayesianLinear(64, 500, rho=-4.0)
    bound = 1 / 64**0.5
    for mu in (layer.weight_mu, layer.bias_mu):
        assert mu.abs().max() <= bound
        assert mu.std().item() == pytest.approx(bound / 3**0.5, rel=0.06)
    assert layer.weight_rho.unique().tolist() == layer.bias_rho.unique().tolist() == [-4.0]


def test_evaluation_is_the_posterior_mean_and_repeats():
    layer, x = seeded(rho=0.0), inputs()
    check_mean(layer, x)
    assert torch.equal(layer(x), layer(x))


def test_mean_after_conversion_to_double():
    layer = seeded().to(torch.float64)
    with torch.no_grad():
        layer.weight_mu.add_(1.0)
    assert layer.weight_mu.dtype == torch.float64
    check_mean(layer, inputs(dtype=torch.float64))


def test_mean_after_deepcopy_is_that_of_the_copy():
    layer = seeded()
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    check_mean(twin, inputs())
    check_mean(layer, inputs())
    torch.testing.assert_close(twin.weight_mu, layer.weight_mu + 1.0)
    spread = training_outputs(twin, torch.zeros(1, 5), 2000).std(dim=0).flatten()
    torch.testing.assert_close(spread, F.softplus(twin.bias_rho).detach(), rtol=0.1, atol=0.0)


@pytest.mark.parametrize("assign", [False, True])
def test_mean_and_draws_after_saving_and_loading(tmp_path, assign):
    layer, other, x = seeded(0), seeded(1, rho=0.0), inputs()
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    other.load_state_dict(load_file(tmp_path / "layer.safetensors"), assign=assign)
    check_mean(other, x)
    torch.testing.assert_close(other(x), layer.eval()(x))
    with sample_weights(other, 5), sample_weights(layer, 5):
        torch.testing.assert_close(other(x), layer(x))


def test_training_moves_mean_and_rho_and_evaluation_follows():
    layer, x = seeded(rho=-2.0), inputs()
    before = copy.deepcopy(layer.state_dict())
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()
    for name, value in layer.state_dict().items():
        assert (value != before[name]).all(), name
    check_mean(layer, x)


def test_gradients_are_those_of_the_reparametrisation():
    layer = seeded(rho=-1.0)
    x = torch.eye(5)
    out = layer(x)
    # With unit inputs the draw itself is visible: out[i, o] = W[o, i] + b[o].
    out.sum().backward()
    torch.testing.assert_close(layer.weight_mu.grad, torch.ones(3, 5))
    torch.testing.assert_close(layer.bias_mu.grad, torch.full((3,), 5.0))
    slope = torch.sigmoid(torch.tensor(-1.0)) / F.softplus(torch.tensor(-1.0))
    deviation = (out - mean_prediction(layer, x)).detach().sum()
    moved = layer.weight_rho.grad.sum() + layer.bias_rho.grad.sum()
    torch.testing.assert_close(moved, slope * deviation)


def training_outputs(layer, x, n):
    layer.train()
    torch.manual_seed(2)
    with torch.no_grad():
        return torch.stack([layer(x) for _ in range(n)])


def test_draws_have_mean_mu_and_deviation_softplus_rho():
    layer = seeded(bias=False)
    with torch.no_grad():
        layer.weight_rho.copy_(torch.linspace(-3.0, 1.0, 15).view(3, 5))
    draws = training_outputs(layer, torch.eye(5), 4000)
    sigma = F.softplus(layer.weight_rho).detach()
    torch.testing.assert_close(draws.std(dim=0), sigma.T, rtol=0.05, atol=0.0)
    assert ((draws.mean(dim=0) - layer.weight_mu.T).abs() < 4.5 * sigma.T / 4000**0.5).all()


def test_one_draw_serves_the_whole_batch():
    layer = seeded(rho=1.0)
    out = layer(torch.ones(4, 5))
    assert torch.equal(out, out[:1].expand(4, 3))
    assert not torch.equal(out, layer(torch.ones(4, 5)))


def test_freeze_uses_the_mean_in_training_too():
    layer, x = seeded(rho=1.0), inputs()
    layer.freeze = True
    torch.testing.assert_close(layer(x), mean_prediction(layer, x))


def test_sample_weights_repeats_by_seed_and_leaves_the_rest_alone():
    torch.manual_seed(0)
    module = nn.Sequential(BayesianLinear(5, 4, rho=0.0), nn.Tanh(), BayesianLinear(4, 2, rho=0.0)).eval()
    x, state = inputs(), torch.get_rng_state()
    mean = module(x)

    def draws(seed):
        with sample_weights(module, seed):
            return torch.stack([module(x) for _ in range(3)])

    first = draws(7)
    assert torch.equal(first, draws(7))
    assert not torch.equal(first, draws(8))
    assert not torch.equal(first[0], first[1])
    assert torch.equal(module(x), mean)
    assert torch.equal(torch.get_rng_state(), state)
    assert not module.training


def test_sample_weights_nests_and_ends_after_an_error():
    layer, x = seeded(rho=0.0).eval(), inputs()
    mean = layer(x)
    with sample_weights(layer, 1):
        outer = [layer(x), layer(x)]
    with sample_weights(layer, 1):
        assert torch.equal(layer(x), outer[0])
        with sample_weights(layer, 2):
            assert not torch.equal(layer(x), outer[1])
        assert torch.equal(layer(x), outer[1])
    with pytest.raises(RuntimeError, match="stop"), sample_weights(layer, 1):
        raise RuntimeError("stop")
    assert torch.equal(layer(x), mean)


def test_kl_equals_torch_distributions_and_has_its_minimum_at_the_prior():
    layer = seeded(prior_sigma=0.3, rho=-2.0)
    with torch.no_grad():
        layer.bias_rho.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    expected = sum(
        torch_kl(Normal(mu, F.softplus(rho)), Normal(0.0, 0.3)).sum()
        for mu, rho in [(layer.weight_mu, layer.weight_rho), (layer.bias_mu, layer.bias_rho)]
    )
    torch.testing.assert_close(layer.kl(), expected)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.fill_(0.0 if name.endswith("mu") else torch.tensor(0.3).expm1().log().item())
    assert layer.kl().item() == pytest.approx(0, abs=1e-5)


def test_kl_of_a_module_sums_its_layers():
    first, second = seeded(0), seeded(1, bias=False)
    module = nn.Sequential(first, nn.ModuleList([nn.Linear(3, 5), second]))
    torch.testing.assert_close(kl_divergence(module), first.kl() + second.kl())
    assert kl_divergence(nn.Linear(2, 2)).item() == 0


def test_blitz_helpers_fail_rather_than_report_no_divergence():
    assert isinstance(seeded(), BayesianModule)
    with pytest.raises(AttributeError, match="log_variational_posterior"):
        kl_divergence_from_nn(seeded())


def test_prior_must_be_positive():
    with pytest.raises(ValueError, match="prior_sigma must be positive"):
        BayesianLinear(2, 2, prior_sigma=0.0)
