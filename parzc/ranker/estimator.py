"""The ranker: fitted on a few labelled networks, it scores all others and says how sure it is."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from torch import Tensor, nn

from parzc.datasets import Space
from parzc.datasets.spaces._registry import read_space, recorded_space
from parzc.encoding.scaling import normal_scores
from parzc.errors import InputError
from parzc.features import FeatureTable, NodeFeatures
from parzc.models.bayesian import sample_weights
from parzc.models.gaussian_process import GaussianProcess
from parzc.models.process import Process
from parzc.models.token_mixer import TokenMixer
from parzc.models.trees import RandomForest, Trees
from parzc.ranker import checkpoint
from parzc.ranker.acquisition import expected_best
from parzc.ranker.assembly import Beside, first_shares, make_beside, make_encoder, make_model, names_beside
from parzc.ranker.label_scale import orders_better, standard_scores
from parzc.ranker.presets import get_preset, settings_of
from parzc.ranker.pretraining import continued, pretrain_once
from parzc.ranker.stacking import FEWEST, cross_validated, stacking_weights
from parzc.ranker.training import train

CANDIDATES = 20_000
"""Networks that `suggest` looks at, which bounds its memory."""
SHORTLIST = 400
"""Networks among which `suggest` looks for the best one."""
GOALS = ("ranking", "best")
DRAWS = 32
"""Weight draws of each member behind `predict_dist`."""

PROCESSES = ("gaussian_process", "description_process")
"""Members that say what they would tell of each label without it."""

Inputs = tuple[Tensor, ...]
Features = FeatureTable | Sequence[NodeFeatures]


class Ranker(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Ranks neural networks from node statistics and network scores; a scikit-learn estimator.

    Args:
        preset: name in `parzc.ranker.presets.PRESETS`.
        space: search space, or its name or file as `parzc.datasets.get_space` takes it; its slots give each column its
            place. Empty for networks of no known space.
        seed: of initialisation, batches, dropout and drawn weights.
        settings: changes to the preset, for example `{"training.epochs": 100, "model.dim": 32}`.

    Attributes:
        preset_: all settings that `fit` used.
        encoder_: scales the features; fitted, or adapted.
        members_: what was trained: the neural networks, then what the preset has beside them.
        shapes_: sizes of one row of each model input.
        labelled_: number of labelled networks.
        beside_: names of the members beside the networks.
        shares_: `(1 + len(beside_),)` how much all networks together, and each member beside them, count in a score;
            of sum 1. Without networks, or members beside them, there are fewer.
        offset_, scale_: `(members + 1,)` mean and standard deviation of each member's scores, and of their mean, over
            the features that the scaling was fitted on.
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

    def fit(self, features: Features, accuracies: ArrayLike, unlabelled: Features | None = None) -> "Ranker":
        """Learn to rank from labelled networks.

        Args:
            features: of `n` networks.
            accuracies: `(n,)`, in any unit, bigger is better.
            unlabelled: features to fit the scaling on and to pre-train with, for example those of all networks to be
                ranked; `features` themselves if not given.

        Raises:
            InputError: for fewer than two networks, other numbers of labels than networks, labels that are not
                finite, or a preset without members.
        """
        table, labels = _as_table(features), np.asarray(accuracies, dtype=np.float64)
        if labels.shape != (len(table),) or len(table) < 2 or not np.isfinite(labels).all():
            raise InputError(
                f"a ranker needs one finite accuracy for each of at least 2 networks, but {len(table)} networks came "
                f"with accuracies of shape {labels.shape}, {np.isfinite(labels).sum()} of them finite"
            )
        settings = {**settings_of(self.preset, recorded_space(self.space)["space"]), **(self.settings or {})}
        self.preset_ = get_preset(self.preset).override(settings)
        if self.preset_.members < 0 or self.preset_.members + len(self.preset_.beside) == 0:
            raise InputError("a ranker needs at least one member; set members to 1 or more, or name one in beside")
        pool = table if unlabelled is None else _as_table(unlabelled)
        self.encoder_ = make_encoder(self.preset_, self.space).fit(pool)
        inputs = self._inputs(table)
        self.shapes_ = [tuple(x.shape[1:]) for x in inputs]
        self.labelled_ = len(labels)
        everything = self._inputs(pool)
        self.beside_ = names_beside(self.preset_, self.shapes_)
        self.shares_ = first_shares(self.preset_, len(self.beside_))
        beside, targets = self._fit_beside(inputs, labels, everything)
        self.members_ = [*self._train_networks(inputs, labels, everything), *beside]
        raw = self._raw(everything)
        self._standardise(raw)
        if self.preset_.share is not None and len(labels) >= FEWEST:
            self._weigh_beside(inputs, targets, everything)
            self._standardise(raw)
        return self

    def adapt(self, features: Features) -> "Ranker":
        """Rank other networks than those that the ranker knows: of another space, task or input size, without labels.

        Everything that is measured is scaled anew, by its rank among these networks, so that what was learned of the
        order of one population is applied to the order of another. A ranker for networks of no known space
        (`space=""`) can be adapted to any space, others to their own.

        Args:
            features: of all networks that are to be ranked, at best.

        Raises:
            InputError: if the features lack what the ranker reads, or a node is nowhere in its space.
        """
        table = _as_table(features)
        self.encoder_ = self.encoder_.refit(table)
        self._standardise(self._raw(self._inputs(table)))
        return self

    def _raw(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return the scores of each member as it gives them, `(members, n)`."""
        return np.stack([_score(member, inputs) for member in self.members_])

    def _standardise(self, raw: NDArray[np.float64]) -> None:
        """Give the scores of each member, and their mean, mean 0 and spread 1 over networks with these scores."""
        self.offset_, self.scale_ = np.zeros(len(self.members_) + 1), np.ones(len(self.members_) + 1)
        self.offset_[:-1], self.scale_[:-1] = raw.mean(1), np.maximum(raw.std(1), 1e-12)
        mean = self._mean(raw)
        self.offset_[-1], self.scale_[-1] = mean.mean(), max(mean.std(), 1e-12)

    def _train_networks(self, inputs: Inputs, labels: NDArray[np.float64], pool: Inputs) -> list[nn.Module]:
        seeds = [1000 * self.seed + member for member in range(self.preset_.members)]
        networks = [make_model(self.preset_, self.shapes_, seed) for seed in seeds]
        if networks and self.preset_.pretraining.steps and isinstance(networks[0], TokenMixer):
            pretrain_once(networks[0], pool, self.preset_.pretraining, seeds[0])
            networks = [continued(networks[0], seed) for seed in seeds]
        targets = torch.from_numpy(labels).float()
        for network, seed in zip(networks, seeds, strict=True):
            train(network, inputs, targets, self.preset_.training, seed)
        return networks

    def _fit_beside(self, inputs: Inputs, labels: NDArray[np.float64], pool: Inputs) -> tuple[list[nn.Module], Tensor]:
        """Fit the members beside the networks; return them and the targets of all but boosted trees.

        These are the labels on the scale on which what the processes tell of held-out ones orders them best.
        """
        plain, ranks = (torch.from_numpy(scale(labels)) for scale in (standard_scores, normal_scores))
        (members, ahead), (others, behind) = (self._fit_processes(inputs, t, pool) for t in (plain, ranks))
        chosen = plain
        if not (members and orders_better(ahead, behind, labels)):
            members, chosen = others, ranks
        for name in self.beside_:
            if name not in members:
                # A split puts untrainable networks aside, whose accuracies would take up the scale of a process.
                members[name] = self._fit_member(name, inputs, plain if name == "boosted_trees" else chosen, pool)
        return [members[name] for name in self.beside_], chosen

    def _fit_processes(
        self, inputs: Inputs, targets: Tensor, pool: Inputs
    ) -> tuple[dict[str, Beside], NDArray[np.float64]]:
        """Fit the processes among the members, and return what they tell of each target without it."""
        names = [name for name in self.beside_ if name in PROCESSES]
        members = {name: self._fit_member(name, inputs, targets, pool) for name in names}
        held_out = [member.held_out(targets).numpy() for member in members.values() if isinstance(member, Process)]
        if not held_out:
            return members, np.zeros(len(targets))
        told = np.stack(held_out, 1)
        weights = stacking_weights(told, targets.numpy())
        return members, told @ (weights if weights.any() else np.full(len(names), 1 / len(names)))

    def _fit_member(self, name: str, inputs: Sequence[Tensor], targets: Tensor, pool: Inputs) -> Beside:
        member = make_beside(name, len(targets), self.shapes_)
        if isinstance(member, GaussianProcess):
            return member.fit(inputs, targets, pool, self.seed)
        return member.fit(inputs, targets, self.seed)

    def _weigh_beside(self, inputs: Inputs, targets: Tensor, pool: Inputs) -> None:
        """Set the shares of processes and random forests to what each tells of targets that it has not learned.

        What they have together stays as it is, and so do the shares of networks and boosted trees.
        """
        networks = self.preset_.members
        beside = zip(self.beside_, self.members_[networks:], strict=True)
        weighed = [entry for entry in enumerate(beside, networks) if isinstance(entry[1][1], Process | RandomForest)]
        if len(weighed) < 2:
            return
        told = []
        for _, (name, member) in weighed:
            if isinstance(member, RandomForest):
                told.append(member.out_of_bag)
            else:
                # Without a target, but with kernel parameters that were fitted to it, too, a process with many of
                # these would tell far more of it than it does of new ones.
                fit = partial(self._fit_member, name, pool=pool)
                told.append(cross_validated(fit, inputs, targets, self.seed))
        indices = np.array([index for index, _ in weighed])
        # What is added up are standardised scores.
        weights = stacking_weights(torch.stack(told, 1).numpy(), targets.numpy()) * self.scale_[indices]
        if weights.any():
            places = indices - len(self.members_)
            self.shares_[places] = self.shares_[places].sum() * weights / weights.sum()

    def predict(self, features: Features) -> NDArray[np.float64]:
        """Return `(n,)` scores, bigger is better, of mean 0 and spread 1 where the scaling was fitted.

        The posterior mean of the weights is used: the same features give the same scores.
        """
        inputs = self._inputs(_as_table(features))
        return self._combined(self._raw(inputs))

    def predict_dist(self, features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `(n,)` scores as `predict` does, and `(n,)` standard deviations in the same unit.

        With a Gaussian process among the members, the deviation is that of its posterior, label noise included;
        otherwise it is over members and over weights drawn from their posteriors. See `parzc.uncertainty`
        for what follows for the order of two networks.
        """
        inputs = self._inputs(_as_table(features))
        scores = self._combined(self._raw(inputs))
        for index, member in enumerate(self.members_):
            if isinstance(member, GaussianProcess):
                return scores, np.sqrt(_in_batches(member.variance, inputs)) / self.scale_[index]
        draws = np.stack([
            (_score(model, inputs, seed=DRAWS * (1000 * self.seed + index) + draw) - self.offset_[index])
            / self.scale_[index]
            for index, model in enumerate(self.members_)
            for draw in range(DRAWS)
        ])  # fmt: skip
        return scores, draws.std(0)

    def suggest(self, features: Features, n: int, goal: str = "ranking") -> list[int]:
        """Return the indices of `n` networks to train next, the most useful first.

        Args:
            features: of the candidates.
            n: how many to choose.
            goal: `ranking` for the networks whose labels would tell most of all others (of more than `CANDIDATES`
                networks, as many are drawn with the seed, and the others left out); `best` for those of the `SHORTLIST`
                best scored ones whose best is expected to be the best network.

        Raises:
            InputError: for a preset without a Gaussian process, another goal, or fewer than one network to choose.
        """
        processes = [member for member in self.members_ if isinstance(member, GaussianProcess)]
        if not processes:
            raise InputError(f"preset '{self.preset}' has no Gaussian process to suggest networks with; use 'default'")
        if goal not in GOALS:
            raise InputError(f"networks cannot be suggested for '{goal}'; choose one of {', '.join(GOALS)}")
        table = _as_table(features)
        if not 1 <= n <= len(table):
            raise InputError(f"cannot suggest {n} of {len(table)} networks; ask for 1 to {len(table)}")
        if goal == "best":
            return self._most_promising(table, n, processes[0])
        rows = np.sort(np.random.default_rng(self.seed).permutation(len(table))[: max(n, CANDIDATES)])
        chosen = processes[0].most_informative(self._inputs(table[rows]), n, self.seed)
        return [int(rows[i]) for i in chosen]

    def _most_promising(self, table: FeatureTable, n: int, process: GaussianProcess) -> list[int]:
        scores = self.predict(table)
        rows = np.argsort(-scores, kind="stable")[: max(n, SHORTLIST)]
        with torch.no_grad():
            covariance = process.covariance(*self._inputs(table[rows])).numpy()
        unit = self.scale_[self.members_.index(process)]
        chosen = expected_best(scores[rows], covariance / unit**2, n, self.seed)
        return [int(rows[i]) for i in chosen]

    def save(self, path: str | Path) -> None:
        """Write `model.safetensors`, `config.json` and `card.md` into the folder `path`."""
        tensors = {f"encoder.{name}": torch.from_numpy(values) for name, values in self.encoder_.arrays.items()}
        for index, model in enumerate(self.members_):
            tensors |= {f"members.{index}.{name}": value for name, value in model.state_dict().items()}
        for name in ("offset", "scale", "shares"):
            tensors[name] = torch.from_numpy(getattr(self, f"{name}_"))
        config = self.get_params() | recorded_space(self.space)
        config |= {"shapes": self.shapes_, "labelled": self.labelled_}
        config["definitions"] = self.encoder_.definitions
        count = self.preset_.members
        networks = [f"{count} neural network{'s' * (count > 1)}"] if count else []
        counts = dict(zip([*networks, *self.beside_], self.shares_.tolist(), strict=True))
        checkpoint.write(Path(path), config, self.preset_, tensors, counts)

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
            ranker.preset_, ranker.shapes_ = preset, [tuple(shape) for shape in config["shapes"]]
            ranker.encoder_ = make_encoder(preset, ranker.space)
            arrays = {name: values.numpy() for name, values in checkpoint.part(tensors, "encoder.").items()}
            ranker.encoder_.restore(config["definitions"], arrays, ranker.shapes_)
            ranker.labelled_ = config["labelled"]
            ranker._restore_members(tensors)
        return ranker

    def _restore_members(self, tensors: Mapping[str, Tensor]) -> None:
        count = len({name.split(".")[1] for name in tensors if name.startswith("members.")})
        self.beside_ = names_beside(self.preset_, self.shapes_)
        if count != self.preset_.members + len(self.beside_):
            raise ValueError(f"there are tensors of {count} members, but config.json names others")
        shares = count - self.preset_.members + bool(self.preset_.members)
        for name, size in (("offset", count + 1), ("scale", count + 1), ("shares", shares)):
            checkpoint.check_tensor(name, tensors[name], (size,), torch.float64)
            setattr(self, f"{name}_", tensors[name].numpy())
        if self.scale_.min() <= 0 or self.shares_.min() < 0 or abs(self.shares_.sum() - 1) > 1e-6:
            raise ValueError("a scale is not positive, or the shares of the members are none")
        parts = [checkpoint.part(tensors, f"members.{index}.") for index in range(count)]
        for name, part in zip(self.beside_, parts[self.preset_.members :], strict=True):
            # Their size is a number of config.json: nothing is built before the tensors are known to be of that size.
            with torch.device("meta"):
                checkpoint.check_state(make_beside(name, self.labelled_, self.shapes_), part)
        self.members_ = [make_model(self.preset_, self.shapes_, seed=0) for _ in range(self.preset_.members)]
        self.members_ += [make_beside(name, self.labelled_, self.shapes_) for name in self.beside_]
        for member, part in zip(self.members_, parts, strict=True):
            checkpoint.fill(member, part)
            if isinstance(member, Trees):
                member.check(self.shapes_)

    def _inputs(self, table: FeatureTable) -> Inputs:
        return tuple(torch.from_numpy(x) for x in self.encoder_.transform(table))

    def _mean(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of `(members, n)` scores, weighed by the shares; all networks count alike."""
        standard = (raw - self.offset_[:-1, None]) / self.scale_[:-1, None]
        networks = self.preset_.members
        together = [standard[:networks].mean(0)] if networks else []
        mean: NDArray[np.float64] = self.shares_ @ np.stack([*together, *standard[networks:]])
        return mean

    def _combined(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = (self._mean(raw) - self.offset_[-1]) / self.scale_[-1]
        return scores


def _as_table(features: Features) -> FeatureTable:
    return features if isinstance(features, FeatureTable) else FeatureTable.of(features)


def _score(model: nn.Module, inputs: Inputs, seed: int | None = None) -> NDArray[np.float64]:
    """Return the scores with the mean weights, or with weights drawn from `seed`, the same for every batch."""

    def run(*rows: Tensor) -> Tensor:
        with nullcontext() if seed is None else sample_weights(model, seed):
            score: Tensor = model(*rows)
        return score

    return _in_batches(run, inputs)


def _in_batches(run: Callable[..., Tensor], inputs: Inputs) -> NDArray[np.float64]:
    # Attention between the vertices of large graphs takes memory; 4096 rows are few enough otherwise.
    batch = max(1, min(4096, 2**22 // max(x[0].numel() for x in inputs)))
    with torch.no_grad():
        parts = [run(*rows) for rows in zip(*(torch.split(x, batch) for x in inputs), strict=True)]
    values: NDArray[np.float64] = torch.cat(parts).double().numpy()
    return values
