"""Measured architectures as model inputs, and what proxies alone make of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from parzc.datasets import Space
from parzc.encoding.inputs import Inputs
from parzc.features import AZ_NAS, FeatureTable, aggregate_ranks
from parzc.ranker.assembly import make_encoder
from parzc.ranker.presets import Preset

PART = 100
"""Architectures among which each of a spread is sought: the one farthest away of all is mostly an odd one."""


@dataclass(frozen=True, eq=False)
class Population:
    """Measured architectures, candidates and trained ones together.

    Args:
        archs: `n` architectures.
        inputs: of the ranker, scaled over these.
        ranking: `(n,)` rank aggregation of the AZ-NAS proxies among these, bigger is better.
    """

    archs: tuple[str, ...]
    inputs: Inputs
    ranking: NDArray[np.float64]

    @classmethod
    def of(cls, features: FeatureTable, preset: Preset, space: Space) -> "Population":
        """Return the population that features were measured of."""
        encoder = make_encoder(preset, space).fit(features)
        # Of some spaces a proxy has no value at all, such as progressivity of networks that have one block.
        known = {name: features.scores[name] for name in AZ_NAS if np.isfinite(features.scores[name]).any()}
        ranking = aggregate_ranks(known) if known else np.zeros(len(features))
        return cls(features.archs, encoder.transform(features), ranking)

    @cached_property
    def row(self) -> dict[str, int]:
        """Row of each architecture."""
        return {arch: row for row, arch in enumerate(self.archs)}

    @cached_property
    def _points(self) -> NDArray[np.float64]:
        """All model inputs, `(n, columns)`, scaled so that a squared distance is a mean over them."""
        points: NDArray[np.float64] = self.inputs.columns(dtype=torch.float64).numpy()
        scaled: NDArray[np.float64] = points / np.sqrt(max(points.shape[1], 1))
        return scaled

    def spread(
        self, candidates: Sequence[int], there: Sequence[int], n: int, fraction: float, rng: np.random.Generator
    ) -> list[int]:
        """Return `n` candidates far from each other, and from some others, among those that proxies rank best.

        Args:
            candidates: rows that may be chosen.
            there: rows to stay away from.
            n: how many to choose.
            fraction: of the candidates, the best ranked of which are chosen from; no fewer than `n`.
            rng: draws the part of these that each is sought among. Of two searches each sees other ones.
        """
        best = np.argsort(-self.ranking[list(candidates)], kind="stable")
        top = np.asarray(candidates, dtype=np.int64)[best[: max(n, round(fraction * len(best)))]]
        apart = np.full(len(top), np.inf)
        for row in there:
            apart = np.minimum(apart, self._distances(top, row))
        chosen: list[int] = []
        for _ in range(min(n, len(top))):
            free = np.flatnonzero(apart >= 0)
            part = rng.choice(free, size=min(PART, len(free)), replace=False)
            pick = int(part[np.argmax(apart[part])])
            chosen.append(int(top[pick]))
            apart = np.minimum(apart, self._distances(top, chosen[-1]))
            apart[pick] = -1.0
        return chosen

    def _distances(self, rows: NDArray[np.int64], other: int) -> NDArray[np.float64]:
        squares: NDArray[np.float64] = np.square(self._points[rows] - self._points[other]).sum(1)
        return squares
