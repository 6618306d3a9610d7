"""The Gaussian process of the default ranker: what a label says of the networks that are like the labelled one."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LABELS = 400
"""Labels that the kernel's parameters are fitted to; all of them enter the predictions."""
LINEAR = 2
JITTER = 1e-5
AMPLITUDE, DESCRIBED = (-math.log(5), 0.7), (-4.0, 2.0)
"""Mean and deviation of the logarithm of an amplitude: of what was measured, and of descriptions of architectures,
which say nearly all in one space and nearly nothing in another."""
ABSENT, ALONE = (-16.0, 0.01), (0.0, 2.0)
"""The same where descriptions stand alone: of all other kernels, and of those on the description."""
LENGTH, LONG = (0.3, 0.7), (1.0, 1.5)
"""Mean and deviation of the logarithm of a length scale, and where descriptions stand alone: parts that add up have a
long one."""
NOISE = (-2.5, 1.0)
"""Mean and deviation of the logarithm of the variance of a label's noise."""
FAR = 10
"""Deviations from its mean that a parameter may go: a step of the search that leads beyond leaves no covariance."""


class GaussianProcess(nn.Module):
    """Gaussian process on node statistics, network scores and block statistics, in double precision.

    The kernel is a sum: a linear one on the first principal component of the network scores (most proxies
    agree, more or less, and where labels are few their common order is the best guess), a linear one on all network
    scores, and a Matern 3/2 kernel each on the network scores with the block statistics and on the tokens. Where the
    description of the architecture enters, there are two more: on all of it, and on its summary, which does not depend
    on the order of vertices. These are squared exponentials: what parts are worth adds up smoothly. Amplitudes, length
    scales and noise maximise the posterior under log-normal priors.

    Args:
        labelled: number of labelled networks.
        shapes: of one row of tokens, network scores, block statistics, and the description if there is one.
        measured: whether what was measured enters; the kernels of the description alone otherwise.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapters 2, 4 and 5.
    """

    points: Tensor
    direction: Tensor
    log_amplitude: Tensor
    log_length: Tensor
    log_noise: Tensor
    factor: Tensor
    weights: Tensor
    origin: Tensor

    def __init__(self, labelled: int, shapes: Sequence[tuple[int, ...]], measured: bool = True) -> None:
        super().__init__()
        self.sizes = [math.prod(shape) for shape in shapes]
        sizes = {
            "points": (labelled, sum(self.sizes)),
            "direction": (self.sizes[1],),
            "origin": (self.sizes[1],),
            "factor": (labelled, labelled),
            "weights": (labelled,),
        }
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))
        described = len(shapes) - 3
        amplitudes, lengths = [AMPLITUDE] * (LINEAR + 2) + [DESCRIBED] * described, [LENGTH] * (2 + described)
        if not measured:
            amplitudes = [ABSENT] * (LINEAR + 2) + [ALONE] * described
            lengths = [LONG] * (2 + described)
        priors = {"log_amplitude": amplitudes, "log_length": lengths, "log_noise": NOISE}
        self.priors = {name: torch.tensor(prior, dtype=torch.float64) for name, prior in priors.items()}
        for name, prior in self.priors.items():
            self.register_buffer(name, prior[..., 0].clone())

    def fit(self, inputs: Sequence[Tensor], targets: Tensor, pool: Sequence[Tensor], seed: int) -> "GaussianProcess":
        """Learn from labelled networks.

        Args:
            inputs: tokens, network scores, block statistics and perhaps descriptions of the labelled networks.
            targets: `(labelled,)` their accuracies, scaled to mean 0 and spread 1 or to normal scores.
            pool: the same inputs of networks without labels, for the principal component.
            seed: of the labels that the kernel's parameters are fitted to, where there are more than `LABELS`.
        """
        scores = pool[1].double()
        self.origin = scores.mean(0)
        if scores.shape[1]:
            _, spread, directions = torch.linalg.svd(scores - self.origin, full_matrices=False)
            deviation = float(spread[0]) / math.sqrt(len(scores))
            # Scores that do not vary have no component, and a rounding error must not become one.
            self.direction = directions[0] / deviation if deviation > 1e-6 else torch.zeros_like(self.origin)
        self.points, targets = _flat(inputs), targets.double()
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))[:LABELS]
        self._fit_kernel(self.points[order], targets[order])
        self.factor = self._cholesky(self._distances(self.points, self.points))
        self.weights = torch.cholesky_solve(targets[:, None], self.factor)[:, 0]
        return self

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the posterior mean `(batch,)` of each network's accuracy, on the scale of the targets."""
        return self._between(_flat(inputs), self.points) @ self.weights

    def held_out(self, targets: Tensor) -> Tensor:
        """Return what the process would predict of each of the targets that it learned, `(labelled,)`, without it.

        Source: Rasmussen and Williams 2006, eq. 5.12.
        """
        own = torch.cholesky_inverse(self.factor).diagonal()
        return targets.double() - self.weights / own

    def variance(self, *inputs: Tensor) -> Tensor:
        """Return the posterior variance `(batch,)` of each network's accuracy, label noise included."""
        points = _flat(inputs)
        explained = self._whitened(points).square().sum(0)
        return self._own(points) - explained + self.log_noise.exp()

    def covariance(self, *inputs: Tensor) -> Tensor:
        """Return the posterior covariance `(batch, batch)` of the networks' accuracies, without label noise."""
        points = _flat(inputs)
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
        points = _flat(candidates)
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

    def _fit_kernel(self, points: Tensor, targets: Tensor) -> None:
        distances = self._distances(points, points)
        parameters = [getattr(self, name).clone().requires_grad_() for name in self.priors]
        priors = [prior.unbind(-1) for prior in self.priors.values()]
        optimizer = torch.optim.LBFGS(parameters, max_iter=60, line_search_fn="strong_wolfe")

        def take() -> None:
            near = [
                parameter.clamp(centre - FAR * spread, centre + FAR * spread)
                for parameter, (centre, spread) in zip(parameters, priors, strict=True)
            ]
            self.log_amplitude, self.log_length, self.log_noise = near

        def objective() -> Tensor:
            optimizer.zero_grad()
            take()
            factor = self._cholesky(distances)
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

    def _cholesky(self, distances: tuple[list[Tensor], list[Tensor]]) -> Tensor:
        """Return the Cholesky factor of the covariance of the labels at points with these distances."""
        covariance = self._kernel(*distances)
        # The amplitudes of descriptions may grow large, and the rounding errors with them.
        largest = self.log_amplitude[LINEAR + 2 :].exp().sum().clamp_min(1.0)
        noise = self.log_noise.exp() + JITTER * largest
        factor: Tensor = torch.linalg.cholesky(covariance + noise * torch.eye(len(covariance)).to(covariance))
        return factor

    def _views(self, points: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return what the linear and the stationary kernels see, scaled so that a product is a mean over columns."""
        tokens, scores, blocks, *description = torch.split(points, self.sizes, dim=1)
        centred = scores - self.origin
        linear = [(centred @ self.direction)[:, None], centred]
        stationary = [torch.cat([scores, blocks], 1), tokens]
        if description:
            stationary += [torch.cat(description, 1), description[1]]
        return [_scaled(t) for t in linear], [_scaled(t) for t in stationary]

    def _distances(self, left: Tensor, right: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        (linear, stationary), (others, other_stationary) = self._views(left), self._views(right)
        products = [a @ b.T for a, b in zip(linear, others, strict=True)]
        # Without the matrix product, whose cancellation would make a point lie apart from itself.
        mode = "donot_use_mm_for_euclid_dist"
        apart = [torch.cdist(a, b, compute_mode=mode) for a, b in zip(stationary, other_stationary, strict=True)]
        return products, apart

    def _kernel(self, products: list[Tensor], apart: list[Tensor]) -> Tensor:
        amplitudes, lengths = self.log_amplitude.exp(), self.log_length.exp()
        total = torch.zeros_like(apart[0])
        for amplitude, product in zip(amplitudes[:LINEAR], products, strict=True):
            total = total + amplitude * product
        kernels = [_matern] * 2 + [_squared_exponential] * (len(apart) - 2)
        for kernel, amplitude, length, distance in zip(kernels, amplitudes[LINEAR:], lengths, apart, strict=True):
            total = total + amplitude * kernel(distance / length)
        return total

    def _between(self, left: Tensor, right: Tensor) -> Tensor:
        return self._kernel(*self._distances(left, right))

    def _own(self, points: Tensor) -> Tensor:
        """Return the prior variance of each point, `(n,)`."""
        linear, _ = self._views(points)
        amplitudes = self.log_amplitude.exp()
        total = amplitudes[LINEAR:].sum().expand(len(points))
        for amplitude, t in zip(amplitudes[:LINEAR], linear, strict=True):
            total = total + amplitude * t.square().sum(1)
        return total

    def _whitened(self, points: Tensor) -> Tensor:
        white: Tensor = torch.linalg.solve_triangular(self.factor, self._between(self.points, points), upper=False)
        return white


def _flat(inputs: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.double().flatten(1) for t in inputs], 1)


def _matern(distance: Tensor) -> Tensor:
    scaled = math.sqrt(3) * distance
    return (1 + scaled) * torch.exp(-scaled)


def _squared_exponential(distance: Tensor) -> Tensor:
    return torch.exp(-distance.square() / 2)


def _scaled(t: Tensor) -> Tensor:
    return t / math.sqrt(max(t.shape[1], 1))
