"""What a training-free search makes as large as possible: a proxy, several joined by their ranks, or a saved ranker."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from parzc.datasets import Space
from parzc.errors import InputError
from parzc.features import AZ_NAS, AZ_NAS_VIT, FeatureTable, aggregate_ranks, list_proxies, proxy_info
from parzc.ranker import Ranker

Rows = NDArray[np.float64]
"""What is kept of each network, `(n, columns)`; see `Score.measured`."""

AGGREGATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({"az_nas": AZ_NAS, "az_nas_vit": AZ_NAS_VIT})
"""Name of a rank aggregation to the proxies that it joins."""

JOIN = "+"
"""Between the names of proxies that are joined by their ranks, as in `nwot+synflow`."""


class Score(ABC):
    """Gives each network of a set a number, without training.

    Attributes:
        name: what users call it.
        proxies: names of the proxies and statistics that it reads.
        of_any_network: whether it can be computed of networks that are no members of the space, such as supernets.
    """

    name: str
    proxies: tuple[str, ...]
    of_any_network = True

    @abstractmethod
    def measured(self, features: FeatureTable) -> Rows:
        """Return what has to be kept of each network, `(n, columns)`; it does not depend on the other networks.

        Raises:
            InputError: if the features lack what the score reads.
        """

    @abstractmethod
    def values(self, rows: Rows) -> NDArray[np.float64]:
        """Return the score of each network within a set, `(n,)`: bigger is better, minus infinity where undefined.

        Args:
            rows: of `measured`, of all networks of the set.
        """


class ProxyScore(Score):
    """A proxy, turned such that bigger is better."""

    def __init__(self, name: str) -> None:
        self.name = proxy_info(name).name
        self.proxies = (name,)
        self._sign = 1.0 if proxy_info(name).bigger_is_better else -1.0

    def measured(self, features: FeatureTable) -> Rows:
        """Return the proxy, `(n, 1)`."""
        return self._sign * _columns(features, (self.name,))

    def values(self, rows: Rows) -> NDArray[np.float64]:
        """Return the proxy, minus infinity where it has no value."""
        return np.where(np.isnan(rows[:, 0]), -np.inf, rows[:, 0])


class RankScore(Score):
    """Several proxies joined by their ranks within the set: the sum of the logarithms of rank / n.

    Ties get their mean rank, and networks without a value tie at the lowest ranks. Every score changes when the set
    grows.

    Source: Lee and Ham 2024 (AZ-NAS), eq. 12; see `parzc.features.aggregate_ranks`.
    """

    def __init__(self, name: str, proxies: tuple[str, ...]) -> None:
        self.name, self.proxies = name, proxies
        self._names = tuple(proxy_info(proxy).name for proxy in proxies)

    def measured(self, features: FeatureTable) -> Rows:
        """Return the proxies, `(n, proxies)`."""
        return _columns(features, self._names)

    def values(self, rows: Rows) -> NDArray[np.float64]:
        """Return the aggregated ranks; minus infinity for networks of which no proxy has a value."""
        joined = aggregate_ranks(dict(zip(self._names, rows.T, strict=True)))
        return np.where(np.isnan(rows).all(1), -np.inf, joined)


class RankerScore(Score):
    """The score that a fitted ranker predicts.

    Args:
        name: what users call it.
        ranker: a fitted one.
    """

    of_any_network = False

    def __init__(self, name: str, ranker: Ranker) -> None:
        self.name, self.ranker = name, ranker
        preset = ranker.preset_
        names = {*preset.statistics, *preset.scores, *preset.blocks}
        self.proxies = tuple(proxy for proxy in list_proxies() if proxy in names)

    def measured(self, features: FeatureTable) -> Rows:
        """Return the predictions, `(n, 1)`."""
        return self.ranker.predict(features)[:, None]

    def values(self, rows: Rows) -> NDArray[np.float64]:
        """Return the predictions."""
        return rows[:, 0]


def get_score(score: str | Score, space: Space) -> Score:
    """Return a score by its name.

    Args:
        score: `az_nas` or another name in `AGGREGATIONS`; a proxy, as `parzc.features.proxy_info` takes it; several of
            these with `+` between them, which are joined by their ranks; or the folder of a saved ranker.
        space: whose networks are scored.

    Raises:
        InputError: if there is no such score, or a ranker is of another space.
    """
    if isinstance(score, Score):
        return score
    if (Path(score) / "config.json").is_file():
        return _ranker_score(score, space)
    names = [name for part in score.split(JOIN) for name in AGGREGATIONS.get(part.strip(), (part.strip(),))]
    for name in names:
        _check_proxy(name, score)
    names = list(dict.fromkeys(names))
    return ProxyScore(names[0]) if len(names) == 1 else RankScore(score, tuple(names))


def _ranker_score(folder: str, space: Space) -> RankerScore:
    ranker = Ranker.load(folder)
    trained = ranker.space if isinstance(ranker.space, str) else ranker.space.name
    if trained and trained != space.name:
        raise InputError(f"the ranker in {folder} is of the space {trained}, not of {space.name}; give one of its own")
    return RankerScore(folder, ranker)


def _check_proxy(name: str, score: str) -> None:
    """Raise `InputError` with names that are meant perhaps, unless there is a proxy of that name."""
    known = list_proxies()
    if name in known:
        return
    if name and (":" in name or name.endswith(".py")):
        proxy_info(name)
        return
    if Path(score).is_dir():
        raise InputError(f"the folder '{score}' holds no ranker; give one that Ranker.save has written")
    near = difflib.get_close_matches(name, [*known, *AGGREGATIONS], 1)
    hint = f"; do you mean '{near[0]}'?" if near else ""
    raise InputError(
        f"there is no score '{name[:100]}'; give a proxy, several joined with {JOIN}, {', '.join(AGGREGATIONS)}, or "
        f"the folder of a ranker{hint}"
    )


def _columns(features: FeatureTable, names: tuple[str, ...]) -> Rows:
    lacking = [name for name in names if name not in features.scores]
    if lacking:
        raise InputError(f"the features hold no '{lacking[0]}'; measure it: --proxies {lacking[0]}")
    return np.stack([np.asarray(features.scores[name], dtype=np.float64) for name in names], axis=1)
