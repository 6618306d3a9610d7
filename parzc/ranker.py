"""The ranker: fitted on a few labelled networks, it scores all others and says how sure it is."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from torch import Tensor, nn

from parzc import checkpoint
from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.features import FeatureTable, NodeFeatures
from parzc.features.encoders import Encoder, PaddedEncoder, TokenEncoder
from parzc.features.graphs import GraphEncoder
from parzc.models.bayesian import sample_weights
from parzc.models.fusion import GRAPHS, FusedRanker, graph_encoder
from parzc.models.mixer import MABN
from parzc.models.token_mixer import TokenMixer
from parzc.presets import Preset, get_preset
from parzc.training import train

DRAWS = 32
"""Weight draws of each member behind `predict_dist`."""

Features = FeatureTable | Sequence[NodeFeatures]


class Ranker(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Ranks neural networks from node statistics and network scores; a scikit-learn estimator.

    Args:
        preset: name in `parzc.presets.PRESETS`.
        space: name of the search space, whose slots say what a column means; empty for networks of no known space.
        seed: of initialisation, batches, dropout and drawn weights.
        settings: changes to the preset, for example `{"training.epochs": 100, "model.dim": 32}`.

    Attributes:
        preset_: all settings that `fit` used.
        encoder_: scales the features; fitted.
        members_: the trained networks.
        shapes_: sizes of one row of each model input.
        offset_, scale_: `(members, 1)` mean and standard deviation of each member's scores over the features that
            the scaling was fitted on.
    """

    def __init__(
        self,
        preset: str = "default",
        space: str = "",
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.preset = preset
        self.space = space
        self.seed = seed
        self.settings = settings

    def fit(self, features: Features, accuracies: ArrayLike, unlabelled: Features | None = None) -> "Ranker":
        """Learn to rank from labelled networks.

        Args:
            features: of `n` networks.
            accuracies: `(n,)`, in any unit, bigger is better.
            unlabelled: features to fit the scaling on, for example those of all networks to be ranked; `features`
                themselves if not given.

        Raises:
            InputError: for fewer than two networks, other numbers of labels than networks, or labels that are not
                finite.
        """
        table, labels = _as_table(features), np.asarray(accuracies, dtype=np.float64)
        if labels.shape != (len(table),) or len(table) < 2 or not np.isfinite(labels).all():
            raise InputError(
                f"a ranker needs one finite accuracy for each of at least 2 networks, but {len(table)} networks came "
                f"with accuracies of shape {labels.shape}, {np.isfinite(labels).sum()} of them finite"
            )
        self.preset_ = get_preset(self.preset).override(self.settings or {})
        pool = table if unlabelled is None else _as_table(unlabelled)
        self.encoder_ = make_encoder(self.preset_, self.space).fit(pool)
        inputs, targets = self._inputs(table), torch.from_numpy(labels).float()
        self.shapes_ = [tuple(x.shape[1:]) for x in inputs]
        self.members_: list[nn.Module] = []
        for member in range(self.preset_.members):
            seed = 1000 * self.seed + member
            model = make_model(self.preset_, self.shapes_, seed)
            train(model, inputs, targets, self.preset_.training, seed)
            self.members_.append(model)
        raw = self._raw_scores(self._inputs(pool))
        self.offset_, self.scale_ = raw.mean(1, keepdims=True), np.maximum(raw.std(1, keepdims=True), 1e-12)
        return self

    def predict(self, features: Features) -> NDArray[np.float64]:
        """Return `(n,)` scores, bigger is better, of mean 0 and spread 1 where the scaling was fitted.

        The posterior mean of the weights is used: the same features give the same scores.
        """
        raw = self._raw_scores(self._inputs(_as_table(features)))
        scores: NDArray[np.float64] = ((raw - self.offset_) / self.scale_).mean(0)
        return scores

    def predict_dist(self, features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `(n,)` scores as `predict` does, and `(n,)` standard deviations in the same unit.

        The deviation is over members and over weights drawn from their posteriors.
        """
        table = _as_table(features)
        inputs = self._inputs(table)
        draws = []
        for index, model in enumerate(self.members_):
            seeds = range(DRAWS * index, DRAWS * (index + 1))
            raw = np.stack([_score(model, inputs, seed=DRAWS * 1000 * self.seed + seed) for seed in seeds])
            draws.append((raw - self.offset_[index]) / self.scale_[index])
        return self.predict(table), np.concatenate(draws).std(0)

    def save(self, path: str | Path) -> None:
        """Write `model.safetensors`, `config.json` and `card.md` into the folder `path`."""
        tensors = {f"encoder.{name}": torch.from_numpy(values) for name, values in self.encoder_.arrays.items()}
        for index, model in enumerate(self.members_):
            tensors |= {f"members.{index}.{name}": value for name, value in model.state_dict().items()}
        tensors |= {"offset": torch.from_numpy(self.offset_), "scale": torch.from_numpy(self.scale_)}
        config = self.get_params() | {"shapes": self.shapes_, "definitions": self.encoder_.definitions}
        checkpoint.write(Path(path), config, self.preset_, tensors)

    @classmethod
    def load(cls, path: str | Path) -> "Ranker":
        """Read a ranker that `save` wrote; nothing in the folder can run code.

        Raises:
            InputError: if the folder holds no ranker, or a file of it is damaged or of another version.
        """
        with checkpoint.reading(Path(path)) as (config, preset, tensors):
            ranker = cls(**{name: config[name] for name in ("preset", "space", "seed", "settings")})
            ranker.preset_, ranker.shapes_ = preset, [tuple(shape) for shape in config["shapes"]]
            ranker.encoder_ = make_encoder(preset, ranker.space)
            ranker.encoder_.definitions = config["definitions"]
            ranker.encoder_.arrays = {k: v.numpy() for k, v in checkpoint.part(tensors, "encoder.").items()}
            ranker.offset_, ranker.scale_ = tensors["offset"].numpy(), tensors["scale"].numpy()
            ranker.members_ = [make_model(preset, ranker.shapes_, seed=0) for _ in ranker.offset_]
            for index, model in enumerate(ranker.members_):
                model.load_state_dict(checkpoint.part(tensors, f"members.{index}."))
                model.eval()
        return ranker

    def _inputs(self, table: FeatureTable) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(x) for x in self.encoder_.transform(table))

    def _raw_scores(self, inputs: tuple[Tensor, ...]) -> NDArray[np.float64]:
        return np.stack([_score(model, inputs) for model in self.members_])


def make_encoder(preset: Preset, space: str = "") -> Encoder:
    """Return the unfitted encoder of a preset for networks of `space`.

    Raises:
        InputError: if there is no such space, or the preset reads graphs and cannot.
    """
    _check_graph(preset, space)
    slots = get_space(space).slots if space else ()
    if preset.encoder == "padded":
        nodes = PaddedEncoder(preset.statistics, width=len(slots))
        return nodes if preset.graph == "none" else GraphEncoder(nodes, get_space(space))
    return TokenEncoder(preset.statistics, preset.scores, slots)


def _check_graph(preset: Preset, space: str) -> None:
    if preset.graph not in ("none", *GRAPHS):
        raise InputError(f"there is no architecture encoder '{preset.graph}'; choose one of none, {', '.join(GRAPHS)}")
    if preset.graph != "none" and (preset.encoder, preset.model) != ("padded", "mabn"):
        raise InputError(
            f"the architecture encoder '{preset.graph}' goes with the model 'mabn', not with '{preset.model}'; "
            "choose the preset 'paper'"
        )
    if preset.graph != "none" and not space:
        raise InputError(
            f"the architecture encoder '{preset.graph}' needs the search space of the networks; name it, for example "
            "Ranker(space='nb201')"
        )


def make_model(preset: Preset, shapes: Sequence[tuple[int, ...]], seed: int) -> nn.Module:
    """Return the untrained model of a preset for inputs with rows of `shapes`, initialised from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if preset.graph != "none":
            graph = graph_encoder(preset.graph, shapes[1][-1], **preset.graph_args)
            return FusedRanker(MABN(shapes[0][0], **preset.model_args, outputs=graph.dim), graph, graph.dim)
        if preset.model == "mabn":
            return MABN(shapes[0][0], **preset.model_args)
        return TokenMixer(*shapes[0], *shapes[1], **preset.model_args)


def _as_table(features: Features) -> FeatureTable:
    return features if isinstance(features, FeatureTable) else FeatureTable.of(features)


def _score(model: nn.Module, inputs: tuple[Tensor, ...], seed: int | None = None) -> NDArray[np.float64]:
    """Return the scores with the mean weights, or with weights drawn from `seed`, the same for every batch."""
    # Attention between the vertices of large graphs takes memory; 4096 rows are few enough otherwise.
    largest = max(x[0].numel() for x in inputs)
    batch = max(1, min(4096, 2**22 // largest))
    parts = []
    with torch.no_grad():
        for rows in zip(*(torch.split(x, batch) for x in inputs), strict=True):
            with nullcontext() if seed is None else sample_weights(model, seed):
                parts.append(model(*rows))
    scores: NDArray[np.float64] = torch.cat(parts).double().numpy()
    return scores
