"""What every member of a ranker's ensemble answers, whatever kind of model it is."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from torch import Tensor, nn

from parzc.encoding.inputs import Inputs, Shapes
from parzc.models._posterior import Posterior

I = TypeVar("I", bound=Inputs)  # noqa: E741
HeldOut = Literal["leave_one_out", "out_of_bag", "none"]


class Member(nn.Module, ABC, Generic[I]):
    """A model of the ensemble: fitted on labelled networks, it predicts the targets of others.

    A target is what is learned in place of a label: its normal score, or the label itself, standardised
    (`parzc.ranker.target_transform`); mixers alone are given the labels. All that a fit learns is in `state_dict`, so
    that a member is saved and loaded without running code. A member kind is added by a subclass in a file of its own,
    one line in `parzc.models.members` and its name in a preset; it is made as `kind(labelled, shapes, config)`.

    Attributes:
        Config: frozen dataclass of the settings of this kind.
        reads: names of the input parts that it reads. It is left out of an ensemble where none of them has a column.
        plain_targets: whether it learns standardised labels as they are, whichever transform the others learn.
        held_out: how it can predict labelled networks without their labels. `leave_one_out`: each from all others, in
            closed form (`leave_one_out_mean`). These predictions choose the target transform; for its ensemble weight
            the member is fitted again in a cross-validation. `out_of_bag`: each by the trees whose bootstrap sample
            left it out (`out_of_bag`), which serve for the ensemble weight. `none`: not at all; its weight is then
            fixed.
        gives_variance: whether it gives a posterior (`posterior`), from which deviations and acquisition then come.
        out_of_bag: `(labelled,)` such predictions of the last `fit`; only where `held_out` is `out_of_bag`.
    """

    Config: ClassVar[type[Any]]
    reads: ClassVar[tuple[str, ...]] = ("tokens", "scores", "blocks")
    plain_targets: ClassVar[bool] = False
    held_out: ClassVar[HeldOut] = "none"
    gives_variance: ClassVar[bool] = False
    out_of_bag: Tensor

    @abstractmethod
    def fit(self, inputs: I, targets: Tensor, pool: I, seed: int) -> Self:
        """Learn from labelled networks.

        Args:
            inputs: of the labelled networks, `n` rows.
            targets: `(n,)` their labels, transformed.
            pool: inputs of all networks whose features are known; labelled ones may be among them, but no label of
                the pool enters.
            seed: of all that is drawn; the global random states are left alone.
        """

    @abstractmethod
    def forward(self, inputs: I) -> Tensor:
        """Return the predicted targets `(n,)`."""

    def leave_one_out_mean(self, targets: Tensor) -> Tensor:
        """Return `(labelled,)` predictions, each target of the last fit predicted from all other targets."""
        raise NotImplementedError

    def posterior(self, inputs: I) -> Posterior:
        """Return the variances `(n,)` and covariances `(n, n)` of the targets of `n` networks, given the labels."""
        raise NotImplementedError

    def check(self, shapes: Shapes) -> None:
        """Raise `ValueError` if a state that was loaded cannot be that of a member for rows of `shapes`."""
