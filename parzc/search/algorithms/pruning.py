"""TE-NAS: in each round, each edge of a supernet loses the operation that counts least, until one is left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parzc.datasets import Partial, Size, Space
from parzc.errors import InputError
from parzc.features import proxy_info
from parzc.search.algorithms._base import Algorithm, Chosen
from parzc.search.history import History
from parzc.search.pool import Pool
from parzc.search.scores import Score, get_score
from parzc.search.supernets import Batch, Inputs, Networks, even, ranks, score_of_any_network, sized, without

TE_NAS = "ntk+linear_regions"
"""The proxies of TE-NAS: condition number of the tangent kernel, and linear regions."""

REGIONS, PIXELS = "linear_regions", 3
"""This proxy is read of a thin network on many small inputs, of so many pixels in height and width."""

AGAIN = 3
"""Runs that may all end in known architectures, one after another, before nothing is asked for."""


class Pruning(Algorithm):
    """Pruning of an untrained supernet by importance.

    Alive operations of an edge are averaged. In each round, every alive operation of every edge is removed for a try,
    and for each proxy of the score the relative change is taken, the mean over some repeats with other weights and
    inputs. These changes are ranked over all edges and operations, ties alike, and the ranks of all proxies are added
    up. Then each edge loses the operations whose removal is best, or does least harm. Where nodes read from a few edges
    alone, their edges are ranked in the same way, one node after another.

    With one proxy this is the search of xi-GSNR, of which no code was published: whether the change is relative, and
    its sign, are not in the paper. Here, what leaves the best score is removed.

    Published code of TE-NAS compares unrounded changes after sorting rounded ones, keeps default weights where it
    means to draw others, and reads a kernel that includes batch norms; a kernel without a condition number counts as
    100,000 there, and as worse than any other here.

    Args:
        score: a proxy, or several joined with `+`, each of which is ranked; `ntk+linear_regions` is TE-NAS. In a search
            by a score it is that.
        batch: inputs of all proxies but `linear_regions`; 72 as published for NAS-Bench-201, 14 for DARTS.
        regions: inputs for `linear_regions`, 1,000 as published, of 3 x 3 pixels, of the supernet `thin`.
        repeats: over which changes are averaged.
        cut: operations that each edge loses in a round; 1 as published for NAS-Bench-201, 3 for DARTS.
        decimals: to which changes are rounded before they are ranked, where several proxies are; of one the order alone
            counts, and nothing is rounded.
        without: operations that are removed before the start, with spaces between them.
        size: of the supernet for all other proxies: `small` as published, or another one of `Supernet.sizes`.
        depth: cells of the supernet instead of those of its size; 0 for those.
        data: `gaussian` or an `.npz` file of images; see `ExtractionConfig`.

    Source: Chen et al., "Neural Architecture Search on ImageNet in Four GPU Hours" (TE-NAS, ICLR 2021), algorithm 1;
    Sun et al., "Unleashing the Power of Gradient Signal-to-Noise Ratio" (xi-GSNR, ICCV 2023), sec. 4.2.
    """

    name = "pruning"
    reads_values = False

    def __init__(
        self,
        score: str | Score = TE_NAS,
        batch: int = 72,
        regions: int = 1000,
        repeats: int = 3,
        cut: int = 1,
        decimals: int = 3,
        without: str = "none",
        size: str = "small",
        depth: int = 0,
        data: str = "gaussian",
    ) -> None:
        given = {"batch": batch, "regions": regions, "repeats": repeats, "cut": cut}
        for name, value in given.items():
            if value < 1:
                raise InputError(f"pruning cannot have {name} = {value}; set it to 1 or more")
        self.score, self.batch, self.regions, self.repeats, self.cut = score, batch, regions, repeats, cut
        self.decimals, self.without, self.size, self.depth, self.data = decimals, without.split(), size, depth, data

    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:  # noqa: ARG002
        """Return what `n` runs end in that is new and within the budget; fewer where some are alike."""
        score = score_of_any_network(get_score(self.score, pool.space), self.name)
        chosen, pruning = Chosen(pool), _Pruner(pool.space, pool.task, score, self)
        for number in range(max(n, AGAIN)):
            if number >= n and len(chosen):
                break
            chosen.add(pool.candidate(pruning.prune(rng)))
        return chosen.archs


@dataclass(frozen=True)
class _Group:
    """Proxies that are measured together."""

    names: tuple[str, ...]
    networks: Networks
    size: Size
    batch: int
    shape: tuple[int, ...] = ()


class _Pruner:
    """Prunes the supernet of one space."""

    def __init__(self, space: Space, task: str, score: Score, settings: Pruning) -> None:
        self.space, self.settings = space, settings
        self.inputs = Inputs(space, task, settings.data)
        self.supernet = Networks(space, task, ()).supernet
        whole = [proxy for proxy in score.proxies if proxy_info(proxy).name != REGIONS]
        self.groups: list[_Group] = []
        if whole:
            size = sized(self.supernet, settings.size, settings.depth)
            names = tuple(proxy_info(proxy).name for proxy in whole)
            self.groups.append(_Group(names, Networks(space, task, whole), size, settings.batch))
        if len(whole) < len(score.proxies):
            thin, networks = sized(self.supernet, "thin"), Networks(space, task, [REGIONS])
            channels = self.inputs.task.input_shape[0] if thin.stem else thin.width
            self.groups.append(_Group((REGIONS,), networks, thin, settings.regions, (channels, PIXELS, PIXELS)))

    def prune(self, rng: np.random.Generator) -> str:
        """Return the architecture that is left."""
        alive = {
            edge: tuple(op for op in operations if op not in self.settings.without)
            for edge, operations in self.supernet.edges.items()
        }
        if empty := [edge for edge, operations in alive.items() if not operations]:
            raise InputError(f"no operation is left for the edge {empty[0]}; exclude fewer with without")
        while removable := [(edge, op) for edge, ops in alive.items() if len(ops) > 1 for op in ops]:
            partial: Partial = {edge: even(operations) for edge, operations in alive.items()}
            tries = [{**partial, edge: even([kept for kept in alive[edge] if kept != op])} for edge, op in removable]
            sums = dict(zip(removable, self._ranks(partial, tries, rng), strict=True))
            for edge, operations in alive.items():
                count = min(self.settings.cut, len(operations) - 1)
                lost = sorted(operations, key=lambda op: -sums.get((edge, op), 0))[:count]
                alive[edge] = tuple(op for op in operations if op not in lost)
        partial = {edge: {operations[0]: 1.0} for edge, operations in alive.items()}
        for edges in self.supernet.nodes.values():
            partial = self._keep_few(partial, edges, rng)
        chosen = {edge: next(iter(operations)) for edge, operations in partial.items() if operations}
        return self.space.compose(self.supernet.choices(chosen))

    def _keep_few(self, partial: Partial, edges: Sequence[str], rng: np.random.Generator) -> Partial:
        """Return the architecture without those edges of a node whose removal is best."""
        spare = len(edges) - self.supernet.inputs
        if spare > 0:
            sums = self._ranks(partial, [without(partial, edge) for edge in edges], rng)
            for i in np.argsort(-sums, kind="stable")[:spare]:
                partial = without(partial, edges[i])
        return partial

    def _ranks(self, partial: Partial, tries: Sequence[Partial], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return for each try the sum of its ranks over all proxies: the higher, the better it is than `partial`."""
        total = np.zeros(len(tries), dtype=np.int64)
        several = sum(len(group.names) for group in self.groups) > 1
        for group in self.groups:
            changes = np.mean([self._changes(group, partial, tries, rng) for _ in range(self.settings.repeats)], axis=0)
            for column in changes.T:
                total += ranks(np.round(column, self.settings.decimals) if several else column)
        return total

    def _changes(
        self, group: _Group, partial: Partial, tries: Sequence[Partial], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return the relative changes of the proxies of a group, `(tries, proxies)`, positive for better ones."""
        seed, batch = int(rng.integers(2**31)), self.inputs.draw(group.batch, rng, group.shape)
        before, *after = (self._proxies(group, one, batch, seed) for one in (partial, *tries))
        tried = np.array(after)
        # Where the supernet itself has no value, or 0, the order of the others is kept.
        middle = np.array([np.median(known) if len(known := c[~np.isnan(c)]) else np.nan for c in tried.T])
        base = np.where(np.isnan(before) | (before == 0), middle, before)
        base = np.where(np.isnan(base) | (base == 0), 1.0, base)
        changes: NDArray[np.float64] = (tried - base) / np.abs(base)
        return np.where(np.isnan(changes), -np.inf, changes)

    def _proxies(self, group: _Group, partial: Partial, batch: Batch, seed: int) -> NDArray[np.float64]:
        features = group.networks.partial(partial, group.size, batch, seed)
        signs = [1.0 if proxy_info(proxy).bigger_is_better else -1.0 for proxy in group.names]
        return np.array([sign * features.scores[name][0] for sign, name in zip(signs, group.names, strict=True)])
