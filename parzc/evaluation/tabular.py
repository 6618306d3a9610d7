"""Plain tabular learners as rankers, on the very inputs that a ranker of the same preset reads."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from parzc.encoding.scaling import normal_scores
from parzc.errors import InputError
from parzc.evaluation.baselines import BASELINES
from parzc.features import FeatureTable
from parzc.models.architecture_process import MEASURED
from parzc.ranker.assembly import make_encoder
from parzc.ranker.presets import get_preset, settings_of
from parzc.ranker.target_transform import standard_scores

READS: Mapping[str, slice] = MappingProxyType(
    {
        "everything": slice(None),
        "description": slice(MEASURED, MEASURED + 2),
        "description and states": slice(MEASURED, None),
    }
)
"""Inputs of a ranker that a learner reads; those of a description are nothing that was measured."""


class TabularRanker:
    """A scikit-learn regressor on the flattened inputs of a preset.

    It learns the normal scores of the labels, or the labels as they are; where some networks are untrainable, a few
    labels would take up the whole scale of these.

    Args:
        method: name in `parzc.evaluation.baselines.BASELINES`.
        preset: whose encoder to use.
        space: name of the search space.
        seed: of the learner.
        graph: encoder of the architecture that the ranker adds to the preset; its graphs are then inputs here, too.
        plain: whether to learn the labels as they are.
        reads: a name in `READS`.

    Raises:
        InputError: if a description alone is to be read, and the preset does not read it.
    """

    def __init__(
        self,
        method: str,
        preset: str = "default",
        space: str = "",
        seed: int = 0,
        graph: str = "none",
        plain: bool = False,
        reads: str = "everything",
    ) -> None:
        self.scale = standard_scores if plain else normal_scores
        chosen = get_preset(preset).override(settings_of(preset, space) | {"graph": graph})
        if reads != "everything" and not (chosen.described and space):
            raise InputError(
                f"preset '{preset}' reads no description of architectures of '{space}' to learn from alone"
            )
        self.read = READS[reads]
        self.encoder = make_encoder(chosen, space)
        self.estimator = BASELINES[method](seed)

    def fit(
        self, features: FeatureTable, accuracies: ArrayLike, unlabelled: FeatureTable | None = None
    ) -> "TabularRanker":
        """Fit the encoder on `unlabelled` (or `features`) and the learner on the labelled features."""
        self.encoder.fit(features if unlabelled is None else unlabelled)
        with warnings.catch_warnings():
            # A kernel parameter at its bound is a property of the data, not something the user can act on.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.estimator.fit(self._matrix(features), self.scale(np.asarray(accuracies, dtype=np.float64)))
        return self

    def predict(self, features: FeatureTable) -> NDArray[np.float64]:
        """Return `(n,)` predicted accuracies, on the scale that was learned."""
        predictions: NDArray[np.float64] = self.estimator.predict(self._matrix(features))
        return predictions

    def _matrix(self, features: FeatureTable) -> NDArray[np.float32]:
        inputs = self.encoder.transform(features)[self.read]
        return np.concatenate([x.reshape(len(features), -1) for x in inputs], axis=1, dtype=np.float32)


def tabular_learners(preset: str, space: str, graph: str = "none") -> dict[str, Callable[[int], TabularRanker]]:
    """Return every learner that a ranker of this preset has to beat, by name; each takes a seed.

    They learn normal scores of the labels, and the labels as they are. Where the preset reads what architectures are
    made of, there are learners that read nothing else, too, with states and without.
    """
    described = get_preset(preset).override(settings_of(preset, space)).described and bool(space)
    return {
        method + ", plain labels" * plain + (reads != "everything") * f", {reads} only": partial(
            TabularRanker, method, preset, space, graph=graph, plain=plain, reads=reads
        )
        for reads in (READS if described else ("everything",))
        for plain in (False, True)
        for method in BASELINES
    }
