"""Bayesian linear layers: a normal posterior over every weight, drawn by the reparametrisation trick.

This is the only module that imports blitz (blitz-bayesian-pytorch, GPL-3.0).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from blitz.modules import BayesianLinear as BlitzLinear
from torch import Tensor, nn


class BayesianLinear(BlitzLinear):  # type: ignore[misc]  # blitz has no types
    """Linear layer with random weights `W = mu + log(1 + exp(rho)) * eps`, eps ~ N(0, 1).

    It draws once for a whole batch, in training mode and below `sample_weights`; otherwise (evaluation mode,
    or blitz's `freeze` set) it uses the posterior mean, so that predictions repeat. It keeps blitz's
    parameters and replaces the rest: blitz keeps each parameter a second time in a sampler, where `.to(...)`,
    `deepcopy` and loading pull the two apart, draws in evaluation mode too, and saves uninitialised noise.
    The state here is `weight_mu`, `weight_rho` of shape `(out_features, in_features)` and `bias_mu`,
    `bias_rho` of shape `(out_features,)`, each once.

    Means start as in `nn.Linear` (the published code's `kaiming_uniform_` with a = sqrt 5), not at blitz's
    N(0, .1).

    Args:
        in_features: size of the last dimension of the input.
        out_features: size of the last dimension of the output.
        bias: add a (Bayesian) bias.
        prior_sigma: standard deviation of the zero-mean normal prior of every weight, > 0.
        rho: initial rho of every weight; -5 is a standard deviation of .0067.

    Raises:
        ValueError: prior_sigma is not positive.

    Source: ParZC, section 3.3 "Bayesian Network"; Blundell et al., "Weight Uncertainty in Neural Networks",
    2015.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        prior_sigma: float = 0.1,
        rho: float = -5.0,
    ) -> None:
        if prior_sigma <= 0:
            raise ValueError(f"prior_sigma must be positive, got {prior_sigma}.")
        super().__init__(in_features, out_features, bias=bias)
        del self.weight_sampler, self.bias_sampler, self.weight_prior_dist, self.bias_prior_dist
        # Without these, blitz's own KL helper fails instead of returning 0; `kl` below replaces it.
        del self.log_prior, self.log_variational_posterior
        if not bias:
            self.register_parameter("bias_mu", None)
            self.register_parameter("bias_rho", None)
        self.prior_sigma = prior_sigma
        self.posterior_rho_init = rho
        self._sampling = False
        self._generator: torch.Generator | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the means as `nn.Linear` does, and every rho to its initial value."""
        bound = 1 / math.sqrt(self.in_features)
        for mu, rho in self._weights():
            nn.init.uniform_(mu, -bound, bound)
            nn.init.constant_(rho, self.posterior_rho_init)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., in_features)` to `(..., out_features)`."""
        draws = (self.training or self._sampling) and not self.freeze
        weights = [self._draw(mu, rho) if draws else mu for mu, rho in self._weights()]
        return F.linear(x, *weights)

    def kl(self) -> Tensor:
        """Kullback-Leibler divergence of the posterior from the prior N(0, prior_sigma^2).

        Returns:
            Scalar in nats, >= 0, summed over weights: log(p / s) + (s^2 + mu^2) / (2 p^2) - 1/2 each.
        """
        return sum((self._kl(mu, rho) for mu, rho in self._weights()), torch.zeros(()))

    def extra_repr(self) -> str:
        """The arguments, for printing."""
        return (
            f"{self.in_features}, {self.out_features}, bias={self.bias}, prior_sigma={self.prior_sigma}, "
            f"rho={self.posterior_rho_init}"
        )

    def _weights(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.weight_mu, self.weight_rho
        if self.bias:
            yield self.bias_mu, self.bias_rho

    def _kl(self, mu: Tensor, rho: Tensor) -> Tensor:
        spread, shift = F.softplus(rho) / self.prior_sigma, mu / self.prior_sigma
        return ((spread.square() + shift.square() - 1) / 2 - spread.log()).sum()

    def _draw(self, mu: Tensor, rho: Tensor) -> Tensor:
        device = mu.device if self._generator is None else self._generator.device
        noise = torch.randn(mu.shape, generator=self._generator, dtype=mu.dtype, device=device)
        return mu + F.softplus(rho) * noise.to(mu.device)


@contextmanager
def sample_weights(module: nn.Module, seed: int) -> Iterator[None]:
    """Let all Bayesian layers of a module draw new weights in every forward pass, in evaluation mode too.

    The draws come from a generator of their own: the same seed gives the same sequence of predictions, on any
    device, and the global random state stays as it was.

    Args:
        module: holds the layers at any depth.
        seed: of the draws.

    Source: Monte Carlo estimate of the integral over weights, ParZC, section 3.3.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = _bayesian_layers(module)
    before = [(layer._sampling, layer._generator) for layer in layers]
    for layer in layers:
        layer._sampling, layer._generator = True, generator
    try:
        yield
    finally:
        for layer, (sampling, previous) in zip(layers, before, strict=True):
            layer._sampling, layer._generator = sampling, previous


def kl_divergence(module: nn.Module) -> Tensor:
    """Sum of `BayesianLinear.kl` over all Bayesian layers of a module.

    Args:
        module: holds the layers at any depth.

    Returns:
        Scalar in nats, >= 0; 0 without Bayesian layers.
    """
    return sum((layer.kl() for layer in _bayesian_layers(module)), torch.zeros(()))


def _bayesian_layers(module: nn.Module) -> list[BayesianLinear]:
    return [layer for layer in module.modules() if isinstance(layer, BayesianLinear)]
