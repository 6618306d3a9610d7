"""What every Gaussian process here does with its kernel: learn from labels, predict, say how sure it is."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

LABELS = 400
"""Labels that the kernel's parameters are fitted to; all of them enter the predictions."""
JITTER = 1e-5
"""Of the largest variance, what is added to the diagonal."""
POWERS = 6
"""How often it may be raised."""
NOISE = (-2.5, 1.0)
"""Mean and deviation of the logarithm of the variance of a label's noise."""
STEPS = 60
"""Most steps of the search for the kernel's parameters."""
FAR = 10
"""Deviations from its mean that a parameter may go: a step of the search that leads beyond leaves no covariance."""

Prior = tuple[float, float]


class Process(nn.Module):
    """A Gaussian process in double precision whose kernel a subclass gives.

    The parameters of the kernel, and the noise of a label, maximise the posterior under log-normal priors.

    Args:
        labelled: number of labelled networks.
        columns: of the inputs together.
        priors: of the kernel's parameters: name to mean and deviation of the logarithm of each.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapters 2 and 5.
    """

    points: Tensor
    log_noise: Tensor
    factor: Tensor
    weights: Tensor

    def __init__(self, labelled: int, columns: int, priors: dict[str, Sequence[Prior]]) -> None:
        super().__init__()
        sizes = {"points": (labelled, columns), "factor": (labelled, labelled), "weights": (labelled,)}
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))
        tensors = {name: torch.tensor(prior, dtype=torch.float64).reshape(-1, 2) for name, prior in priors.items()}
        self.priors = {**tensors, "log_noise": torch.tensor(NOISE, dtype=torch.float64)}
        for name, prior in self.priors.items():
            self.register_buffer(name, prior[..., 0].clone())

    @abstractmethod
    def _compare(self, left: Tensor, right: Tensor) -> Any:
        """Return what the kernel asks of two sets of points, whatever its parameters are."""

    @abstractmethod
    def _kernel(self, compared: Any) -> Tensor:
        """Return the prior covariance `(left, right)` of what was compared."""

    @abstractmethod
    def _own(self, points: Tensor) -> Tensor:
        """Return the prior variance of each point, `(n,)`."""

    @abstractmethod
    def _largest(self) -> Tensor:
        """Return about how large the kernel may get; rounding errors grow with it."""

    def _points(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return what is read of the inputs `(n, ...)`, `(n, columns)`."""
        return flat(inputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the posterior mean `(batch,)` of each network's accuracy, on the scale of the targets."""
        return self._between(self._points(inputs), self.points) @ self.weights

    def leave_one_out_mean(self, targets: Tensor) -> Tensor:
        """Return what the process would predict of each of the targets that it learned, `(labelled,)`, without it.

        Source: Rasmussen and Williams 2006, eq. 5.12.
        """
        own = torch.cholesky_inverse(self.factor).diagonal()
        return targets.double() - self.weights / own

    def variance(self, *inputs: Tensor) -> Tensor:
        """Return the posterior variance `(batch,)` of each network's accuracy, label noise included."""
        points = self._points(inputs)
        explained = self._whitened(points).square().sum(0)
        return self._own(points) - explained + self.log_noise.exp()

    def covariance(self, *inputs: Tensor) -> Tensor:
        """Return the posterior covariance `(batch, batch)` of the networks' accuracies, without label noise."""
        points = self._points(inputs)
        white = self._whitened(points)
        return self._between(points, points) - white.T @ white

    def most_informative(self, candidates: Sequence[Tensor], n: int, seed: int, reference: int = 1000) -> list[int]:
        """Return the `n` candidates whose labels, one after the other, would lower the total variance most.

        Args:
            candidates: inputs of the networks to choose from.
            n: how many to choose.
            seed: of the networks whose variance counts, drawn from the candidates.
            reference: how many of these.

        Source: Cohn, "Neural Network Exploration Using Optimal Experiment Design", 1996.
        """
        points = self._points(candidates)
        drawn = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:reference]
        white = self._whitened(points)
        shared = self._between(points[drawn], points) - white[:, drawn].T @ white
        own = self._own(points) - white.square().sum(0)
        noise, updates = self.log_noise.exp(), torch.zeros(0, len(points), dtype=torch.float64)
        chosen: list[int] = []
        for _ in range(min(n, len(points))):
            gain = shared.square().sum(0) / (own + noise)
            gain[chosen] = -1.0
            pick = int(gain.argmax())
            # The covariance of the pick with every candidate, what earlier picks explain taken off.
            column = self._between(points[pick : pick + 1], points)[0] - white[:, pick] @ white
            column = (column - updates[:, pick] @ updates) / (own[pick] + noise).sqrt()
            shared, own = shared - column[drawn, None] * column, own - column.square()
            updates = torch.cat([updates, column[None]])
            chosen.append(pick)
        return chosen

    def _learn(self, points: Tensor, targets: Tensor, seed: int) -> None:
        self.points, targets = points, targets.double()
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))[:LABELS]
        self._fit_kernel(self.points[order], targets[order])
        self.factor = self._cholesky(self._compare(self.points, self.points))
        self.weights = torch.cholesky_solve(targets[:, None], self.factor)[:, 0]

    def _fit_kernel(self, points: Tensor, targets: Tensor) -> None:
        compared = self._compare(points, points)
        parameters = [getattr(self, name).clone().requires_grad_() for name in self.priors]
        priors = [prior.unbind(-1) for prior in self.priors.values()]
        optimizer = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn="strong_wolfe")

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

    def _whitened(self, points: Tensor) -> Tensor:
        white: Tensor = torch.linalg.solve_triangular(self.factor, self._between(self.points, points), upper=False)
        return white


def flat(inputs: Sequence[Tensor]) -> Tensor:
    """Return all inputs `(n, ...)` side by side, `(n, columns)`, in double precision."""
    return torch.cat([t.double().flatten(1) for t in inputs], 1)


def scaled(t: Tensor) -> Tensor:
    """Return columns scaled so that a product, and a squared distance, is a mean over them."""
    return t / math.sqrt(max(t.shape[1], 1))
