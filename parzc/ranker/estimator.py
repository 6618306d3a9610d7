"""The ranker: fitted on a few labelled networks, it scores all others and says how sure it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin

from parzc.datasets import Space
from parzc.datasets.spaces._registry import read_space, recorded_space
from parzc.encoding.inputs import Inputs
from parzc.errors import InputError
from parzc.features import FeatureTable, NodeFeatures
from parzc.ranker import checkpoint
from parzc.ranker.acquisition import (
    GOALS,
    drawn_candidates,
    q_expected_improvement,
    shortlist,
    variance_reduction,
)
from parzc.ranker.assembly import make_encoder
from parzc.ranker.ensemble import Ensemble
from parzc.ranker.presets import get_preset
from parzc.ranker.pretraining import WarmStart

Features = FeatureTable | Sequence[NodeFeatures]
__all__ = ["GOALS", "Ranker"]


class Ranker(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Ranks neural networks from node statistics and proxies; a scikit-learn estimator.

    Features go in as a `FeatureTable` of `n` networks (what a store reads), or as a sequence of `n` `NodeFeatures`
    (what `parzc.extract` returns). A score comes out for each: bigger is better. Scores are no accuracies.

    Args:
        preset: name in `parzc.ranker.presets.PRESETS`.
        space: search space, or its name or file as `parzc.datasets.get_space` takes it. Its slots, which are the places
            that nodes of its networks may fill, make sure that one column means one place. Empty for networks of no
            known space.
        seed: of initialisation, batches, dropout and drawn weights.
        settings: changes to the preset, for example `{"training.epochs": 100, "model.dim": 32}`; see `Preset.override`.

    Attributes:
        preset_: all settings that `fit` used.
        encoder_: turns features into model inputs; fitted, or adapted.
        ensemble_: the fitted members and their weights.
        warm_start_: pre-trained mixers that may be handed to the next `fit`.
    """

    def __init__(
        self,
        preset: str = "default",
        space: str | Space = "",
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.preset = preset
        self.space = space
        self.seed = seed
        self.settings = settings

    def fit(
        self,
        features: Features,
        accuracies: ArrayLike,
        unlabelled: Features | None = None,
        warm_start: WarmStart | None = None,
    ) -> "Ranker":
        """Learn to rank from labelled networks.

        Args:
            features: of `n` networks.
            accuracies: `(n,)`, in any unit, bigger is better.
            unlabelled: features to fit the scaling on and to pre-train with, for example those of all networks to be
                ranked; `features` themselves if not given.
            warm_start: of an earlier fit (`warm_start_`). With the same `unlabelled`, settings and seed its mixers need
                not be pre-trained again; scores do not depend on it.

        Raises:
            InputError: for fewer than two networks, other numbers of labels than networks, labels that are not
                finite or all the same, networks to be ranked that are all the same, or a preset without members.
        """
        table, labels = _as_table(features), np.asarray(accuracies, dtype=np.float64)
        if labels.shape != (len(table),) or len(table) < 2 or not np.isfinite(labels).all():
            raise InputError(
                f"a ranker needs one finite accuracy for each of at least 2 networks, but {len(table)} networks came "
                f"with accuracies of shape {labels.shape}, {np.isfinite(labels).sum()} of them finite"
            )
        if (labels == labels[0]).all():
            raise InputError(
                f"all {len(labels)} accuracies are {labels[0]:g}, so that there is no order to learn; give networks "
                "with different accuracies"
            )
        preset = get_preset(self.preset, self.space).override(self.settings or {})
        if preset.mixers < 0 or preset.mixers + len(preset.others) == 0:
            raise InputError("a ranker needs at least one member; set mixers to 1 or more, or name one in others")
        pool = table if unlabelled is None else _as_pool(unlabelled)
        self.preset_ = preset
        self.encoder_ = make_encoder(preset, self.space).fit(pool)
        self.warm_start_ = WarmStart() if warm_start is None else warm_start
        inputs = self._inputs(table)
        self.ensemble_ = self._ensemble(inputs).fit(inputs, labels, self._inputs(pool), self.warm_start_)
        self._check_scores(len(pool))
        return self

    def _check_scores(self, networks: int) -> None:
        """Raise `InputError` where no two networks of the pool have different scores."""
        if not self.ensemble_.orders:
            raise InputError(
                f"the {networks} networks to be ranked do not differ in anything that the ranker reads; give features "
                "of different networks, measured with more proxies"
            )

    def _ensemble(self, inputs: Inputs) -> Ensemble:
        """Return the unfitted ensemble for labelled networks."""
        return Ensemble(self.preset_, inputs.shapes, len(inputs), self.seed)

    def adapt(self, features: Features) -> "Ranker":
        """Rank other networks than those that were fitted on: of another space, task or input size, without labels.

        Everything that is measured is scaled anew, by its rank among these networks, so that what was learned of the
        order of one population is applied to the order of another. A ranker for networks of no known space
        (`space=""`) can be adapted to any space, others to their own.

        Args:
            features: of all networks that are to be ranked, at best.

        Raises:
            InputError: if the features lack what the ranker reads, a node is nowhere in its space, or the networks are
                fewer than two or all the same.
        """
        table = _as_pool(features)
        self.encoder_ = self.encoder_.refit(table)
        self.ensemble_.standardise(self._inputs(table))
        self._check_scores(len(table))
        return self

    def predict(self, features: Features) -> NDArray[np.float64]:
        """Return `(n,)` scores, bigger is better; no accuracies.

        They have mean 0 and standard deviation 1 over the networks given as `unlabelled` to `fit` (over the labelled
        ones, if there were none), or to the last `adapt`. Bayesian layers use the means of their weights: the same
        features give the same scores.

        Raises:
            InputError: if the features lack what the ranker reads, or were defined otherwise.
        """
        return self.ensemble_.predict(self._inputs(_as_table(features)))

    def predict_dist(self, features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `(n,)` scores as `predict` does, and `(n,)` standard deviations in the same unit.

        With a Gaussian process among the members (as in `default`), the deviation is that of its prediction of a label,
        label noise included; otherwise it is over members and over weights drawn from their posteriors.
        `parzc.uncertainty` turns scores and deviations into the probability that one network is better than another.

        Raises:
            InputError: as `predict`.
        """
        inputs = self._inputs(_as_table(features))
        return self.ensemble_.predict(inputs), self.ensemble_.deviations(inputs)

    def suggest(self, features: Features, n: int, goal: str = "ranking") -> list[int]:
        """Return the indices of `n` networks to train next, the most useful first.

        Args:
            features: of the candidates.
            n: how many to choose.
            goal: `ranking` to rank all networks better: those whose labels would lower the variance of all others most
                (variance reduction). `best` to find a good one: those of which the best is expected to be as good as
                can be (expected improvement of several points). `parzc.ranker.acquisition` says how many candidates
                are looked at.

        Raises:
            InputError: for a preset without a Gaussian process, another goal, or fewer than one network to choose.
        """
        if not self.ensemble_.gives_posterior:
            raise InputError(f"preset '{self.preset}' has no Gaussian process to suggest networks with; use 'default'")
        if goal not in GOALS:
            raise InputError(f"networks cannot be suggested for '{goal}'; choose one of {', '.join(GOALS)}")
        table, config = _as_table(features), self.preset_.acquisition
        if not 1 <= n <= len(table):
            raise InputError(f"cannot suggest {n} of {len(table)} networks; ask for 1 to {len(table)}")
        if goal == "best":
            scores = self.predict(table)
            rows = shortlist(scores, n, config.shortlist)
            posterior, unit = self.ensemble_.posterior(self._inputs(table[rows]))
            covariance = posterior.covariance().numpy() / unit**2
            chosen = q_expected_improvement(scores[rows], covariance, n, self.seed, config.draws)
        else:
            rows = drawn_candidates(len(table), n, self.seed, config.candidates)
            posterior, _ = self.ensemble_.posterior(self._inputs(table[rows]))
            chosen = variance_reduction(posterior, n, self.seed, config.reference)
        return [int(rows[i]) for i in chosen]

    def save(self, path: str | Path) -> None:
        """Write `model.safetensors`, `config.json` and `card.md` into the folder `path`."""
        tensors = {f"encoder.{name}": torch.from_numpy(values) for name, values in self.encoder_.arrays.items()}
        ensemble = self.ensemble_
        config = self.get_params() | recorded_space(self.space)
        config |= {"shapes": ensemble.shapes, "labelled": ensemble.labelled}
        config["definitions"] = self.encoder_.definitions
        checkpoint.write(Path(path), config, self.preset_, tensors | ensemble.state(), ensemble.counts())

    @classmethod
    def load(cls, path: str | Path, space: str | Space | None = None) -> "Ranker":
        """Read a ranker that `save` wrote; nothing in the folder can run code.

        Args:
            path: of the folder.
            space: the search space as `parzc.datasets.get_space` takes it, if it is not known by its name.

        Raises:
            InputError: if the folder holds no ranker, if a file of it is damaged or of another version, or if its space
                is not known.
        """
        with checkpoint.reading(Path(path)) as (config, preset, tensors):
            found = read_space(config, space, f"the ranker in {path}")
            ranker = cls(space=found, **{name: config[name] for name in ("preset", "seed", "settings")})
            shapes = {name: tuple(shape) for name, shape in config["shapes"].items()}
            ranker.preset_, ranker.warm_start_ = preset, WarmStart()
            ranker.encoder_ = make_encoder(preset, ranker.space)
            arrays = {name: values.numpy() for name, values in checkpoint.part(tensors, "encoder.").items()}
            ranker.encoder_.restore(config["definitions"], arrays, shapes)
            ranker.ensemble_ = Ensemble(preset, shapes, config["labelled"], ranker.seed).restore(tensors)
        return ranker

    def _inputs(self, table: FeatureTable) -> Inputs:
        inputs: Inputs = self.encoder_.transform(table)
        return inputs


def _as_table(features: Features) -> FeatureTable:
    return features if isinstance(features, FeatureTable) else FeatureTable.of(features)


def _as_pool(features: Features) -> FeatureTable:
    """Return features to scale and standardise on, of which one network is too few."""
    table = _as_table(features)
    if len(table) < 2:
        raise InputError(
            f"a ranker takes its scale from all networks that are to be ranked, but there are {len(table)}; give the "
            "features of at least 2"
        )
    return table
