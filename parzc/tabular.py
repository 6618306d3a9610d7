"""Plain tabular learners as rankers, on the very inputs that a ranker of the same preset reads."""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from parzc.assembly import make_encoder
from parzc.features import FeatureTable
from parzc.features.scaling import normal_scores
from parzc.label_scale import standard_scores
from parzc.models.baselines import BASELINES
from parzc.presets import get_preset, settings_of


class TabularRanker:
    """A scikit-learn regressor on the flattened inputs of a preset.

    It learns the normal scores of the labels, or the labels as they are; where some networks are untrainable, a few
    labels would take up the whole scale of these.

    Args:
        method: name in `parzc.models.baselines.BASELINES`.
        preset: whose encoder to use.
        space: name of the search space.
        seed: of the learner.
        graph: encoder of the architecture that the ranker adds to the preset; its graphs are then inputs here, too.
        plain: whether to learn the labels as they are.
    """

    def __init__(
        self,
        method: str,
        preset: str = "default",
        space: str = "",
        seed: int = 0,
        graph: str = "none",
        plain: bool = False,
    ) -> None:
        self.scale = standard_scores if plain else normal_scores
        settings = settings_of(preset, space) | {"graph": graph}
        self.encoder = make_encoder(get_preset(preset).override(settings), space)
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
        return np.concatenate([x.reshape(len(features), -1) for x in self.encoder.transform(features)], axis=1)
