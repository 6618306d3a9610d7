"""What every Gaussian process here does with its kernel: learn from labels, predict, give its posterior."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from parzc.encoding.inputs import TokenInputs
from parzc.errors import InputError
from parzc.models._member import HeldOut, Member
from parzc.models._posterior import Posterior

JITTER = 1e-5
"""Of the largest variance, what is added to the diagonal of a covariance, whose rounding errors grow with it."""
POWERS = 6
"""How often the jitter may be raised, tenfold each time."""
FAR = 10
"""Deviations from its prior mean that a parameter may go: a search step that leads beyond leaves no covariance."""

Prior = tuple[float, float]
"""Mean and standard deviation of the logarithm of a parameter, which is log-normal."""


@dataclass(frozen=True)
class ProcessConfig:
    """Settings that all Gaussian processes share.

    Args:
        noise: prior of the variance of a label's noise. Targets have variance 1: labels are expected to be noisy by
            exp(-2.5), a twelfth of that, and a factor of 7 more or less is no surprise (two deviations).
        labels: most labels that kernel parameters are fitted to, drawn with the seed; all labels enter predictions.
            Each step of the fit takes time with the cube of their number, and a dozen parameters need no more.
        steps: most steps of the search for kernel parameters (L-BFGS); with few labels it ends earlier by itself.
    """

    noise: Prior = (-2.5, 1.0)
    labels: int = 400
    steps: int = 60

    def __post_init__(self) -> None:
        if self.labels < 2 or self.steps < 1:
            raise InputError(
                f"a Gaussian process cannot be fitted to {self.labels} labels in {self.steps} steps; "
                "set labels to 2 or more and steps to 1 or more"
            )
        for name in (field.name for field in fields(self) if field.name not in ("labels", "steps")):
            mean, deviation = getattr(self, name)
            if not (math.isfinite(mean) and 0 < deviation < math.inf):
                raise InputError(
                    f"the prior '{name}' cannot be {getattr(self, name)}; give mean and deviation of a logarithm"
                )


class Process(Member[TokenInputs]):
    """A Gaussian process in double precision whose kernel a subclass gives.

    The parameters of the kernel, and the variance of the noise of a label, are those of maximum posterior density under
    log-normal priors. Targets have mean 0 and variance about 1.

    Args:
        labelled: number of labelled networks.
        columns: number of columns that the kernel reads.
        config: settings.
        priors: of the kernel's parameters: name to the prior of each.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapters 2 and 5.
    """

    held_out: ClassVar[HeldOut] = "leave_one_out"
    points: Tensor
    log_noise: Tensor
    factor: Tensor
    weights: Tensor

    def __init__(
        self, labelled: int, columns: int, config: ProcessConfig, priors: Mapping[str, Sequence[Prior]]
    ) -> None:
        super().__init__()
        self.config = config
        sizes = {"points": (labelled, columns), "factor": (labelled, labelled), "weights": (labelled,)}
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))
        tensors = {name: torch.tensor(prior, dtype=torch.float64).reshape(-1, 2) for name, prior in priors.items()}
        self.priors = {**tensors, "log_noise": torch.tensor(config.noise, dtype=torch.float64)}
        for name, prior in self.priors.items():
            self.register_buffer(name, prior[..., 0].clone())

    @abstractmethod
    def _compare(self, left: Tensor, right: Tensor) -> Any:
        """Return what the kernel needs of two sets of points that does not depend on its parameters."""

    @abstractmethod
    def _kernel(self, compared: Any) -> Tensor:
        """Return the prior covariance `(left, right)` of what was compared."""

    @abstractmethod
    def _diagonal(self, points: Tensor) -> Tensor:
        """Return the kernel diagonal, which is the prior variance of each point, `(n,)`."""

    @abstractmethod
    def _largest(self) -> Tensor:
        """Return about how large the kernel may get; rounding errors grow with it."""

    def _points(self, inputs: TokenInputs) -> Tensor:
        """Return what the kernel reads of `n` networks, `(n, columns)`."""
        return inputs.columns(dtype=torch.float64)

    def fit(self, inputs: TokenInputs, targets: Tensor, pool: TokenInputs, seed: int) -> Self:  # noqa: ARG002
        """Learn from labelled networks; the seed draws the labels that kernel parameters are fitted to."""
        self.points, targets = self._points(inputs), targets.double()
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))[: self.config.labels]
        self._fit_kernel(self.points[order], targets[order])
        self.factor = self._cholesky(self._compare(self.points, self.points))
        self.weights = torch.cholesky_solve(targets[:, None], self.factor)[:, 0]
        return self

    def forward(self, inputs: TokenInputs) -> Tensor:
        """Return the posterior mean `(n,)` of the target of each network."""
        return self._between(self._points(inputs), self.points) @ self.weights

    def leave_one_out_mean(self, targets: Tensor) -> Tensor:
        """Return the posterior mean `(labelled,)` of each target given all others, without another fit.

        The parameters of the kernel stay those that were fitted to all targets, so that these predictions look better
        than predictions of new networks are.

        Source: Rasmussen and Williams 2006, eq. 5.12.
        """
        precision = torch.cholesky_inverse(self.factor).diagonal()
        return targets.double() - self.weights / precision

    def posterior(self, inputs: TokenInputs) -> Posterior:
        """Return the joint posterior of the targets of networks."""
        points = self._points(inputs)
        diagonal = self._diagonal(points)
        prior = self._between(self.points, points)
        white = torch.linalg.solve_triangular(self.factor, prior, upper=False)
        return Posterior(points, white, diagonal, self.log_noise.exp(), prior.T @ self.weights, self._between)

    def _fit_kernel(self, points: Tensor, targets: Tensor) -> None:
        compared = self._compare(points, points)
        parameters = [getattr(self, name).clone().requires_grad_() for name in self.priors]
        priors = [prior.unbind(-1) for prior in self.priors.values()]
        optimizer = torch.optim.LBFGS(parameters, max_iter=self.config.steps, line_search_fn="strong_wolfe")

        def take() -> None:
            for name, parameter, (centre, spread) in zip(self.priors, parameters, priors, strict=True):
                setattr(self, name, parameter.clamp(centre - FAR * spread, centre + FAR * spread))

        def objective() -> Tensor:
            optimizer.zero_grad()
            take()
            factor = self._cholesky(compared)
            fit = torch.linalg.solve_triangular(factor, targets[:, None], upper=False).square().sum() / 2
            loss: Tensor = fit + factor.diagonal().log().sum()
            for parameter, (centre, spread) in zip(parameters, priors, strict=True):
                loss = loss + ((parameter - centre) / spread).square().sum() / 2
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        with torch.enable_grad():
            optimizer.step(objective)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            take()

    def _cholesky(self, compared: Any) -> Tensor:
        """Return the Cholesky factor of the covariance of the labels at points that were compared.

        Far from the optimum, where the search for parameters may look, rounding errors can be larger than the jitter.
        It is raised then, tenfold each time.
        """
        covariance = self._kernel(compared)
        one = torch.eye(len(covariance)).to(covariance)
        for power in range(POWERS):
            noise = self.log_noise.exp() + 10**power * JITTER * self._largest().clamp_min(1.0)
            last = power == POWERS - 1
            factor, failed = torch.linalg.cholesky_ex(covariance + noise * one, check_errors=last)
            if not failed:
                break
        found: Tensor = factor
        return found

    def _between(self, left: Tensor, right: Tensor) -> Tensor:
        return self._kernel(self._compare(left, right))


def scaled(t: Tensor) -> Tensor:
    """Return columns scaled so that a product, and a squared distance, is a mean over them."""
    return t / math.sqrt(max(t.shape[1], 1))
