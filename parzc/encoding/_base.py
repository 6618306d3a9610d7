"""What every encoder does: features to model inputs, fitted without labels and saved with the ranker."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from parzc.encoding.inputs import Inputs, Shapes
from parzc.errors import InputError
from parzc.features.proxies._registry import proxy_info
from parzc.features.store.table import FeatureTable

I = TypeVar("I", bound=Inputs)  # noqa: E741


class Encoder(ABC, Generic[I]):
    """Turns the features of `n` networks into model inputs with `n` rows.

    It refuses features whose definitions (what fixes the numbers of a proxy: formula, inputs, weights, batch norm)
    differ from those it was fitted on.

    Args:
        statistics: names of the node statistics that enter.
        scores: names of the proxies that enter.
        blocks: names of the block statistics that enter.

    Attributes:
        definitions: name of each of these to its definition in the features that it was fitted on.
        arrays: name to fitted values, such as quantiles.
    """

    def __init__(self, statistics: Sequence[str], scores: Sequence[str] = (), blocks: Sequence[str] = ()) -> None:
        self.statistics, self.scores, self.blocks = tuple(statistics), tuple(scores), tuple(blocks)
        self.definitions: dict[str, Mapping[str, object]] = {}
        self.arrays: dict[str, NDArray[np.float64]] = {}

    @abstractmethod
    def _fit(self, table: FeatureTable) -> None:
        """Set `arrays`."""

    @abstractmethod
    def _transform(self, table: FeatureTable) -> I:
        """Return the model inputs of features whose definitions were compared."""

    @abstractmethod
    def _check_arrays(self, shapes: Shapes) -> None:
        """Raise `ValueError` if `arrays` do not give inputs with rows of `shapes`."""

    def fit(self, table: FeatureTable) -> Self:
        """Learn scales from features, labelled or not, and remember how these were defined.

        Raises:
            InputError: if the features lack a statistic.
        """
        self._define(table)
        self._fit(table)
        return self

    def refit(self, table: FeatureTable) -> Self:
        """Return an encoder whose scales are fitted on other networks; its model inputs have the same shapes as before.

        Raises:
            InputError: if the features lack a statistic.
        """
        other = copy.copy(self)
        other._define(table)
        other.arrays = self.arrays | other._scales(table)
        return other

    def _scales(self, _: FeatureTable) -> dict[str, NDArray[np.float64]]:
        """Return those of `arrays` that are scales, of other networks; none where each network is scaled by itself."""
        return {}

    def _define(self, table: FeatureTable) -> None:
        self._check_columns(table)
        names = dict.fromkeys((*self.statistics, *self.scores, *self.blocks))
        self.definitions = {name: dict(table.definitions.get(name) or proxy_info(name).define()) for name in names}

    def transform(self, table: FeatureTable) -> I:
        """Return the model inputs, with one row for each network.

        Definitions of a store also hold task and batch. Features from `parzc.extract` do not record these; of them the
        definitions of statistics and proxies alone are compared.

        Raises:
            InputError: if the features lack a statistic or were defined otherwise; both are named.
        """
        self._check_columns(table)
        for name, trained in self.definitions.items():
            recorded = table.definitions.get(name)
            given = dict(recorded or proxy_info(name).define())
            for key, value in trained.items():
                if given.get(key) != value and (recorded or key in given):
                    raise InputError(
                        f"'{name}' of these features has {key} {given.get(key)!r}, but the ranker was trained on "
                        f"{value!r}; extract the features with the same definitions"
                    )
        return self._transform(table)

    def restore(self, definitions: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], shapes: Shapes) -> None:
        """Take what `fit` learned from a file.

        Args:
            definitions: of everything that enters.
            arrays: fitted values.
            shapes: of one row of each model input.

        Raises:
            ValueError: if they are not those of this encoder, or do not give rows of these shapes.
        """
        names = {*self.statistics, *self.scores, *self.blocks}
        if not isinstance(definitions, dict) or definitions.keys() != names:
            raise ValueError("the definitions are not those of what enters")
        if not all(isinstance(definition, dict) for definition in definitions.values()):
            raise ValueError("a definition is no mapping")
        self.definitions, self.arrays = definitions, dict(arrays)
        self._check_arrays(shapes)

    def _check_columns(self, table: FeatureTable) -> None:
        parts, names = [], list[str]()
        for kind, wanted, there in (
            ("statistic", self.statistics, table.statistics),
            ("proxy", self.scores, table.scores),
            ("block statistic", self.blocks, table.block_statistics),
        ):
            missing = [name for name in wanted if name not in there]
            names += missing
            if missing:
                several = {"proxy": "proxies"}.get(kind, f"{kind}s") if len(missing) > 1 else kind
                parts.append(f"the {several} " + ", ".join(f"'{name}'" for name in missing))
        if names:
            raise InputError(
                f"the features lack {' and '.join(parts)}, which the ranker reads; extract "
                f"{'them' if len(names) > 1 else 'it'}, too (proxies={list(dict.fromkeys(names))})"
            )


def whole_number(values: NDArray[Any]) -> int:
    """Return the one number of a fitted array; raise `ValueError` if it holds anything else."""
    if values.dtype != np.float64 or values.shape != (1,) or not values[0].is_integer():
        raise ValueError(f"the encoder has {values.dtype} {values.shape} where a whole number should be")
    return int(values[0])
