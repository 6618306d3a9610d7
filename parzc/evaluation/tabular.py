"""Tabular learners (plain scikit-learn regressors) as rankers, on the inputs that a ranker of the same preset reads."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from parzc.encoding.inputs import ARCH_PARTS
from parzc.encoding.scaling import normal_scores
from parzc.errors import InputError
from parzc.evaluation.baselines import BASELINES
from parzc.features import FeatureTable
from parzc.ranker.assembly import make_encoder
from parzc.ranker.presets import get_preset
from parzc.ranker.target_transform import standard_scores

READS: Mapping[str, tuple[str, ...] | None] = MappingProxyType(
    {
        "everything": None,
        "architecture encoding": ARCH_PARTS[:2],
        "architecture encoding and states": ARCH_PARTS,
    }
)
"""Name to the input parts that a learner reads, all if None; the architecture encoding holds nothing that was measured.

`architecture encoding` here is without its part `states`.
"""


class TabularRanker:
    """A scikit-learn regressor on the flattened inputs of a preset.

    It learns the normal scores of the labels (their ranks, mapped to a normal distribution; see
    `parzc.ranker.target_transform`), or the labels as they are, standardised.

    Args:
        method: name in `parzc.evaluation.baselines.BASELINES`.
        preset: whose encoder to use.
        space: name of the search space.
        seed: of the learner.
        graph: architecture encoder that the ranker adds to the preset; graphs are then inputs here, too, flattened.
        plain: whether to learn the labels as they are.
        reads: a name in `READS`.

    Raises:
        InputError: if the architecture encoding alone is to be read, and the preset does not read it.
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
        self.transform = standard_scores if plain else normal_scores
        chosen = get_preset(preset, space).override({"graph": graph})
        if reads != "everything" and not (chosen.arch_encoding and space):
            raise InputError(
                f"preset '{preset}' reads no architecture encoding of the space '{space}' to learn from alone; "
                "choose reads='everything'"
            )
        self.parts = READS[reads]
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
            self.estimator.fit(self._matrix(features), self.transform(np.asarray(accuracies, dtype=np.float64)))
        return self

    def predict(self, features: FeatureTable) -> NDArray[np.float64]:
        """Return `(n,)` predictions, bigger is better, on the scale that was learned: normal scores or standardised."""
        predictions: NDArray[np.float64] = self.estimator.predict(self._matrix(features))
        return predictions

    def _matrix(self, features: FeatureTable) -> NDArray[np.float32]:
        columns: NDArray[np.float32] = self.encoder.transform(features).columns(self.parts).numpy()
        return columns


def tabular_learners(preset: str, space: str, graph: str = "none") -> dict[str, Callable[[int], TabularRanker]]:
    """Return every learner that a ranker of this preset has to beat, by name; each takes a seed.

    They learn normal scores of the labels, and the labels as they are. Where the preset reads the architecture
    encoding, there are learners that read it alone, too, with states and without.
    """
    with_arch = get_preset(preset, space).arch_encoding and bool(space)
    return {
        method + ", plain labels" * plain + (reads != "everything") * f", {reads} only": partial(
            TabularRanker, method, preset, space, graph=graph, plain=plain, reads=reads
        )
        for reads in (READS if with_arch else ("everything",))
        for plain in (False, True)
        for method in BASELINES
    }
