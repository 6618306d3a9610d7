"""The ensemble: members that learn the same labels, and the weights with which their scores are added up."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parzc.encoding.inputs import Inputs, Shapes
from parzc.encoding.scaling import normal_scores
from parzc.models._member import Member
from parzc.models._posterior import Posterior
from parzc.models.bayesian import sample_weights
from parzc.models.members import make_member, member_kind
from parzc.ranker import checkpoint
from parzc.ranker.assembly import first_weights, other_members
from parzc.ranker.networks import Network, make_network, network_seeds, start_networks
from parzc.ranker.presets import Preset
from parzc.ranker.pretraining import WarmStart
from parzc.ranker.stacking import out_of_fold, stacking_weights
from parzc.ranker.target_transform import ranks_better, standard_scores

Array = NDArray[np.float64]

SMALLEST = 1e-12
"""Smallest standard deviation that scores are divided by; below it they are all the same."""


class Ensemble:
    """Members of several kinds whose standardised scores are added up with ensemble weights.

    The mixers (neural networks) count together as one member: the mean of their scores has one weight. The scores of
    each member are standardised (mean 0, standard deviation 1) over the pool, which is all networks whose features
    `fit` was given, and so is their weighted sum.

    Args:
        preset: settings.
        shapes: input name to the shape of its row for one network.
        labelled: number of labelled networks.
        seed: of everything that is drawn.

    Attributes:
        others_: names of the members that are no mixers.
        members_: the mixers, then the others.
        weights_: `(1 + others,)` ensemble weights, of sum 1: first that of all mixers together, then that of each other
            member; `(others,)` without mixers.
        targets_: `(labelled,)` labels of the last fit after the target transform that was chosen; empty after loading.
        offset_, scale_: `(members + 1,)` mean and standard deviation of the scores of each member (each mixer counts
            here), and last of their weighted sum, over the networks that they were standardised on.
    """

    def __init__(self, preset: Preset, shapes: Shapes, labelled: int, seed: int) -> None:
        self.preset, self.shapes, self.labelled, self.seed = preset, shapes, labelled, seed
        self.others_ = other_members(preset, shapes)
        self.weights_ = first_weights(preset, len(self.others_))
        self.members_: list[Member[Any]] = []
        self.targets_ = torch.zeros(0, dtype=torch.float64)
        self.offset_, self.scale_ = np.zeros(0), np.ones(0)

    def fit(self, inputs: Inputs, labels: Array, pool: Inputs, warm_start: WarmStart) -> "Ensemble":
        """Fit the members, standardise their scores, and learn their weights.

        Args:
            inputs: of the labelled networks.
            labels: `(labelled,)`, in any unit, bigger is better.
            pool: inputs of networks to pre-train with and to standardise scores on; no label of theirs enters.
            warm_start: what earlier fits have pre-trained.
        """
        others, targets = self._fit_others(inputs, labels, pool)
        self.targets_ = targets
        self.members_ = [*self._fit_networks(inputs, labels, pool, warm_start), *others]
        raw = self._raw(pool)
        self._standardise(raw)
        if self.preset.mixer_weight is not None and len(labels) >= self.preset.stacking.fewest:
            self._learn_weights(inputs, targets, pool)
            self._standardise(raw)
        return self

    def standardise(self, inputs: Inputs) -> None:
        """Give the scores of each member, and their weighted sum, mean 0 and standard deviation 1 over networks."""
        self._standardise(self._raw(inputs))

    @property
    def orders(self) -> bool:
        """Whether any two of the networks that scores were standardised on have different scores."""
        return bool(self.scale_[-1] > SMALLEST)

    def predict(self, inputs: Inputs) -> Array:
        """Return scores `(n,)`, bigger is better; Bayesian layers use the means of their weights."""
        scores: Array = (self._sum(self._raw(inputs)) - self.offset_[-1]) / self.scale_[-1]
        return scores

    def deviations(self, inputs: Inputs) -> Array:
        """Return standard deviations `(n,)` of the scores.

        Where a member gives a variance (a Gaussian process does), it is the deviation that the first such member
        predicts for a label of the network, noise of labels included, on the standardised scale of that member. Where
        none does, it is the deviation over members and over weights drawn from their posteriors.
        """
        index = self._with_posterior
        if index is not None:
            member = self.members_[index]
            variance = _in_batches(lambda rows: member.posterior(rows).label_variance, inputs)
            of_labels: Array = np.sqrt(variance) / self.scale_[index]
            return of_labels
        draws = self.preset.draws
        scores = np.stack([
            (_score(member, inputs, seed=draws * (1000 * self.seed + index) + draw) - self.offset_[index])
            / self.scale_[index]
            for index, member in enumerate(self.members_)
            for draw in range(draws)
        ])  # fmt: skip
        deviations: Array = scores.std(0)
        return deviations

    @property
    def gives_posterior(self) -> bool:
        """Whether there is a member with a joint posterior."""
        return self._with_posterior is not None

    def posterior(self, inputs: Inputs) -> tuple[Posterior, float]:
        """Return the joint posterior of the first member that gives one, and the standard deviation of its scores.

        Divided by that deviation (and the covariance by its square), the posterior is on the scale of standardised
        scores.

        Raises:
            LookupError: if there is none.
        """
        index = self._with_posterior
        if index is None:
            raise LookupError("no member of this ensemble has a joint posterior")
        with torch.no_grad():
            return self.members_[index].posterior(inputs), float(self.scale_[index])

    def counts(self) -> dict[str, float]:
        """Return the ensemble weight of the mixers together, and of each other member, by name."""
        mixers = self.preset.mixers
        names = [f"{mixers} mixer{'s' * (mixers > 1)}"] if mixers else []
        return dict(zip([*names, *self.others_], self.weights_.tolist(), strict=True))

    def state(self) -> dict[str, Tensor]:
        """Return all that was fitted as tensors by name."""
        tensors = {name: torch.from_numpy(getattr(self, f"{name}_")) for name in ("offset", "scale", "weights")}
        for index, member in enumerate(self.members_):
            tensors |= {f"members.{index}.{name}": value for name, value in member.state_dict().items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> "Ensemble":
        """Take what `state` returned from a file that may be damaged.

        Raises:
            ValueError: if the tensors are not those of this ensemble.
        """
        mixers, count = self.preset.mixers, len({n.split(".")[1] for n in tensors if n.startswith("members.")})
        if count != mixers + len(self.others_):
            raise ValueError(f"there are tensors of {count} members, but config.json names others")
        weights = count - mixers + bool(mixers)
        for name, size in (("offset", count + 1), ("scale", count + 1), ("weights", weights)):
            checkpoint.check_tensor(name, tensors[name], (size,), torch.float64)
            setattr(self, f"{name}_", tensors[name].numpy())
        if self.scale_.min() <= 0 or self.weights_.min() < 0 or abs(self.weights_.sum() - 1) > 1e-6:
            raise ValueError("a scale is not positive, or the ensemble weights are none")
        parts = [checkpoint.part(tensors, f"members.{index}.") for index in range(count)]
        for name, part in zip(self.others_, parts[mixers:], strict=True):
            # Their size is a number of config.json: nothing is built before the tensors are known to be of that size.
            with torch.device("meta"):
                checkpoint.check_state(self._make(name, self.labelled), part)
        networks = [make_network(self.preset, self.shapes, seed=0) for _ in range(mixers)]
        self.members_ = [Network(network, self.preset.training) for network in networks]
        self.members_ += [self._make(name, self.labelled) for name in self.others_]
        for member, part in zip(self.members_, parts, strict=True):
            checkpoint.fill(member, part)
            member.check(self.shapes)
        return self

    def _make(self, name: str, labelled: int) -> Member[Any]:
        return make_member(name, labelled, self.shapes, self.preset.member_configs[name])

    def _fit(self, name: str, inputs: Inputs, targets: Tensor, pool: Inputs) -> Member[Any]:
        return self._make(name, len(targets)).fit(inputs, targets, pool, self.seed)

    def _fit_networks(self, inputs: Inputs, labels: Array, pool: Inputs, warm_start: WarmStart) -> list[Network]:
        networks = start_networks(self.preset, pool, self.seed, warm_start)
        for network, seed in zip(networks, network_seeds(self.preset, self.seed), strict=True):
            network.fit(inputs, torch.from_numpy(labels), pool, seed)
        return networks

    def _fit_others(self, inputs: Inputs, labels: Array, pool: Inputs) -> tuple[list[Member[Any]], Tensor]:
        """Fit the members that are no mixers; return them, and the labels under the target transform that was chosen.

        The labels as they are (`plain`) are chosen where the leave-one-out means of the processes rank the labels
        better with them, beyond chance; else, and without a process, normal scores. See `target_transform`.
        """
        plain, ranks = (torch.from_numpy(transform(labels)) for transform in (standard_scores, normal_scores))
        (members, of_plain), (on_ranks, of_ranks) = (self._fit_processes(inputs, t, pool) for t in (plain, ranks))
        chosen = plain
        if not (members and ranks_better(of_plain, of_ranks, labels, self.preset.transform)):
            members, chosen = on_ranks, ranks
        for name in self.others_:
            if name not in members:
                targets = plain if member_kind(name).plain_targets else chosen
                members[name] = self._fit(name, inputs, targets, pool)
        return [members[name] for name in self.others_], chosen

    def _fit_processes(self, inputs: Inputs, targets: Tensor, pool: Inputs) -> tuple[dict[str, Member[Any]], Array]:
        """Fit the members that have leave-one-out means; return them, and the weighted sum of these means, `(n,)`."""
        names = [name for name in self.others_ if member_kind(name).held_out == "leave_one_out"]
        members = {name: self._fit(name, inputs, targets, pool) for name in names}
        if not members:
            return members, np.zeros(len(targets))
        means = np.stack([member.leave_one_out_mean(targets).numpy() for member in members.values()], 1)
        weights = stacking_weights(means, targets.numpy(), self.preset.stacking)
        return members, means @ (weights if weights.any() else np.full(len(names), 1 / len(names)))

    def _learn_weights(self, inputs: Inputs, targets: Tensor, pool: Inputs) -> None:
        """Set the weights of the members that have held-out predictions by stacking; the sum of these weights stays."""
        mixers = self.preset.mixers
        named = enumerate(zip(self.others_, self.members_[mixers:], strict=True), mixers)
        weighed = [(index, name, member) for index, (name, member) in named if member.held_out != "none"]
        if len(weighed) < 2:
            return
        held_out = torch.stack([self._held_out(name, member, inputs, targets, pool) for _, name, member in weighed], 1)
        indices = np.array([index for index, *_ in weighed])
        # What is added up are standardised scores.
        weights = stacking_weights(held_out.numpy(), targets.numpy(), self.preset.stacking) * self.scale_[indices]
        if weights.any():
            places = indices - len(self.members_)
            self.weights_[places] = self.weights_[places].sum() * weights / weights.sum()

    def _held_out(self, name: str, member: Member[Any], inputs: Inputs, targets: Tensor, pool: Inputs) -> Tensor:
        """Return predictions of the targets of a member that has not learned them."""
        if member.held_out == "out_of_bag":
            return member.out_of_bag
        # Not leave-one-out means: kernel parameters have been fitted to each target, too, and where a process has many
        # of these, the means come far closer to the targets than predictions of new networks do.
        return out_of_fold(
            lambda rows, some: self._fit(name, rows, some, pool), inputs, targets, self.seed, self.preset.stacking.folds
        )

    @property
    def _with_posterior(self) -> int | None:
        return next((index for index, member in enumerate(self.members_) if member.gives_variance), None)

    def _raw(self, inputs: Inputs) -> Array:
        """Return the scores of each member as it gives them, `(members, n)`."""
        return np.stack([_score(member, inputs) for member in self.members_])

    def _standardise(self, raw: Array) -> None:
        self.offset_, self.scale_ = np.zeros(len(self.members_) + 1), np.ones(len(self.members_) + 1)
        self.offset_[:-1], self.scale_[:-1] = raw.mean(1), np.maximum(raw.std(1), SMALLEST)
        total = self._sum(raw)
        self.offset_[-1], self.scale_[-1] = total.mean(), max(total.std(), SMALLEST)

    def _sum(self, raw: Array) -> Array:
        """Return the weighted sum of `(members, n)` scores, standardised; all mixers count alike."""
        standard = (raw - self.offset_[:-1, None]) / self.scale_[:-1, None]
        mixers = self.preset.mixers
        together = [standard[:mixers].mean(0)] if mixers else []
        total: Array = self.weights_ @ np.stack([*together, *standard[mixers:]])
        return total


def _score(member: Member[Any], inputs: Inputs, seed: int | None = None) -> Array:
    """Return the scores with the mean weights, or with weights drawn from `seed`, the same for every batch."""

    def run(rows: Inputs) -> Tensor:
        with nullcontext() if seed is None else sample_weights(member, seed):
            score: Tensor = member(rows)
        return score

    return _in_batches(run, inputs)


def _in_batches(run: Callable[[Inputs], Tensor], inputs: Inputs) -> Array:
    with torch.no_grad():
        parts = [run(rows) for rows in inputs.batches()]
    values: Array = torch.cat(parts).double().numpy()
    return values
