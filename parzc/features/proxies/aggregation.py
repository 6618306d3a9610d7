"""Joins several proxies into one score by their ranks within a population (AZ-NAS, sec. 3.2)."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from parzc.errors import InputError
from parzc.features.proxies._registry import proxy_info


def aggregate_ranks(
    scores: Mapping[str, Sequence[float] | NDArray[np.float64]],
    method: Literal["log", "linear"] = "log",
) -> NDArray[np.float64]:
    """Return one score for each of `m` architectures from their ranks under several proxies.

    `log` sums the logarithms of rank / m (eq. 12), so that one bad rank weighs more than several good ones; `linear`
    sums rank / m. Ranks ascend in the direction that the proxy's record calls better; ties get their mean rank, and
    architectures without a value tie at the lowest ranks.

    Args:
        scores: proxy name to `(m,)` values, as in `FeatureTable.scores`; for AZ-NAS those of `AZ_NAS`, for any other
            set of proxies those.
        method: `log` (AZ-NAS) or `linear`.

    Returns:
        `(m,)` scores, bigger is better; `log` in `(-inf, 0]`, `linear` in `(0, number of proxies]`.

    Raises:
        InputError: if there are no proxies, one of them is unknown, their lengths differ, or the method is unknown.
    """
    if method not in ("log", "linear"):
        raise InputError(f"there is no aggregation '{method}'; choose log or linear")
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    if not columns:
        raise InputError("no proxies were given to aggregate; give at least one")
    shapes = {values.shape for values in columns.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        sizes = ", ".join(f"{name} {values.shape}" for name, values in columns.items())
        raise InputError(f"each proxy must have one value for each architecture, but the shapes are {sizes}")
    total = np.zeros(next(iter(shapes)))
    for name, values in columns.items():
        signed = values if proxy_info(name).bigger_is_better else -values
        ranks = scipy.stats.rankdata(np.where(np.isnan(signed), -np.inf, signed)) / max(len(signed), 1)
        total += np.log(ranks) if method == "log" else ranks
    return total
