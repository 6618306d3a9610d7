"""Zero-Cost-PT: each edge of a supernet keeps the operation without which the score would be the lowest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parzc.datasets import Partial, Space, Supernet
from parzc.errors import InputError
from parzc.search.algorithms._base import Algorithm, Chosen
from parzc.search.history import History
from parzc.search.pool import Pool
from parzc.search.scores import Score, get_score
from parzc.search.supernets import Batch, Inputs, Networks, even, score_of_any_network, sized, without

AGAIN = 10
"""Proposals that may all be known already, one after another, before nothing is asked for."""


class Perturbation(Algorithm):
    """Perturbation of an untrained supernet.

    To propose an architecture, all edges are decided in random order. For an edge, each operation is dropped from the
    supernet in turn, and that one stays without which the score is the lowest (arg min); an undefined score counts as
    lower than any other. Operations of one edge are compared on the same batch and the same weights. Then each node
    that reads from a few edges alone keeps those without which the score is the lowest. Several proposals differ by the
    order of edges, weights and batches. In a search by a score, the result is the proposal with the highest score as a
    complete network (arg max), the mean over `validation` batches.

    What published code does otherwise. That of Zero-Cost-PT reads activation patterns without normalisation, counts
    each rectifier twice, runs a dropped operation of NAS-Bench-201 on zeros, keeps one set of weights for all
    proposals, and reaches no other score than `nwot`. That of MeCo draws a new batch for each operation of an edge, so
    that operations are compared on different data; decides the edges of nodes by `nwot`, whatever the score;
    validates on one batch; and takes arg min and arg max as they are for scores where smaller is better, which are
    turned around here.

    Args:
        score: what is read of the supernet; a proxy, `az_nas`, or several joined with `+`. In a search by a score it is
            that.
        batch: inputs; 256 as published, 1 for `meco`, which reads no more.
        validation: batches on which complete networks are scored, 100 as published; 0 to score them by the features
            that are kept.
        size: of the supernet, `whole` as published, or another one of `Supernet.sizes`.
        depth: cells of the supernet instead of those of its size, so that it takes less time; 0 for those.
        data: `gaussian` or an `.npz` file of images; see `ExtractionConfig`.

    Source: Xiang et al., "Zero-Cost Operation Scoring in Differentiable Architecture Search" (AAAI 2023); Jiang et al.,
    "MeCo" (NeurIPS 2023), algorithm 1.
    """

    name = "perturbation"
    reads_values = False

    def __init__(
        self,
        score: str | Score = "nwot",
        batch: int = 16,
        validation: int = 4,
        size: str = "whole",
        depth: int = 0,
        data: str = "gaussian",
    ) -> None:
        if batch < 1 or validation < 0 or depth < 0:
            raise InputError(
                f"perturbation cannot have batch = {batch}, validation = {validation} and depth = {depth}; give a "
                "batch of 1 or more, and 0 or more of the others"
            )
        self.score, self.batch, self.validation = score, batch, validation
        self.size, self.depth, self.data = size, depth, data

    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:  # noqa: ARG002
        """Return what `n` proposals make that is new and within the budget; fewer where some are alike."""
        chosen, proposing = Chosen(pool), self._proposing(pool)
        for number in range(max(n, AGAIN)):
            if number >= n and len(chosen):
                break
            chosen.add(pool.candidate(proposing.propose(rng)))
        return chosen.archs

    def own_rows(self, archs: Sequence[str], pool: Pool, score: Score, seed: int) -> NDArray[np.float64] | None:
        """Return what the score keeps of complete networks, over the batches of the validation."""
        if not self.validation:
            return None
        networks = Networks(pool.space, pool.task, score.proxies)
        batch = Inputs(pool.space, pool.task, self.data).draw(self.batch * self.validation, np.random.default_rng(seed))
        rows = [score.measured(networks.complete(arch, batch, self.validation, seed)) for arch in archs]
        return np.concatenate(rows)

    def _proposing(self, pool: Pool) -> "_Proposing":
        score = score_of_any_network(get_score(self.score, pool.space), self.name)
        return _Proposing(pool.space, pool.task, score, self)


class _Proposing:
    """Proposes architectures of one space."""

    def __init__(self, space: Space, task: str, score: Score, settings: Perturbation) -> None:
        self.space, self.score, self.settings = space, score, settings
        self.networks = Networks(space, task, score.proxies)
        self.inputs = Inputs(space, task, settings.data)
        self.supernet: Supernet = self.networks.supernet
        self.size = sized(self.supernet, settings.size, settings.depth)

    def propose(self, rng: np.random.Generator) -> str:
        """Return one architecture."""
        seed, supernet = int(rng.integers(2**31)), self.supernet
        partial: Partial = {edge: even(operations) for edge, operations in supernet.edges.items()}
        orders = [[cell[i] for i in rng.permutation(len(cell))] for cell in supernet.cells]
        for step in range(max(map(len, orders))):
            batch = self.inputs.draw(self.settings.batch, rng)
            for edge in (order[step] for order in orders if step < len(order)):
                dropped = [without(partial, edge, operation) for operation in partial[edge]]
                best = int(np.argmin(self._values(dropped, batch, seed)))
                partial = {**partial, edge: {list(partial[edge])[best]: 1.0}}
        partial = self._cut(partial, seed, rng)
        chosen = {edge: next(iter(operations)) for edge, operations in partial.items() if operations}
        return self.space.compose(supernet.choices(chosen))

    def _cut(self, partial: Partial, seed: int, rng: np.random.Generator) -> Partial:
        """Return the architecture in which each node keeps as many edges as it may have."""
        names = [node for node, edges in self.supernet.nodes.items() if len(edges) > self.supernet.inputs]
        for node in (names[i] for i in rng.permutation(len(names))):
            edges = self.supernet.nodes[node]
            batch = self.inputs.draw(self.settings.batch, rng)
            values = self._values([without(partial, edge) for edge in edges], batch, seed)
            for i in np.argsort(values, kind="stable")[self.supernet.inputs :]:
                partial = without(partial, edges[i])
        return partial

    def _values(self, partials: Sequence[Partial], batch: Batch, seed: int) -> NDArray[np.float64]:
        rows = [self.networks.partial(partial, self.size, batch, seed) for partial in partials]
        return self.score.values(np.concatenate([self.score.measured(features) for features in rows]))
