"""What a network returns, and the loss of it that gradients are taken of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from parzc.errors import InputError
from parzc.features.passes.once import Undefined

Output = Callable[[Any], Tensor]
"""Chooses, from what the network returns, the tensor that proxies read."""
Loss = Callable[[Tensor, Any], Tensor]
"""Maps that tensor and the labels as given (`None` where there are none) to the mean loss over the batch."""
NAMES = ("logits", "out")
"""Under which names a mapping holds the output."""


@dataclass(frozen=True)
class Objective:
    """How a network is read and what it would be trained for.

    Args:
        output: chooses the output; without it, see `find`.
        loss: of the output and the labels; the mean cross-entropy where it is not given.
    """

    output: Output | None = None
    loss: Loss | None = None

    def find(self, returned: Any) -> Tensor:
        """Return a tensor, the `.logits` of an object, `"logits"` or `"out"` of a mapping, or the first of a tuple.

        Raises:
            InputError: if there is none, or `output` fails or gives no floating tensor.
        """
        found = _find(returned) if self.output is None else _called("output", self.output, returned)
        if not isinstance(found, Tensor):
            what = type(returned if self.output is None else found).__name__
            who = "the network" if self.output is None else "output"
            raise InputError(
                f"{who} must return a tensor, but it returned {what}; give output=, a function from what the network "
                "returns to a tensor"
            )
        if not found.is_floating_point() or not found.ndim:
            raise InputError(
                f"the network's output must be floating-point numbers for each input, but it is {found.dtype} of shape "
                f"{tuple(found.shape)}; give output=, a function from what the network returns to logits"
            )
        return found

    def of(self, output: Tensor, labels: Any) -> Tensor:
        """Return the loss that was given.

        Raises:
            InputError: if it fails or is no single number.
            Undefined: if it does not depend on the network, or is not finite.
        """
        assert self.loss is not None
        value = _called("loss", self.loss, output, labels)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"loss must return one number, the mean over the batch, as a tensor, but returned {shape}")
        if output.requires_grad and not value.requires_grad:
            raise Undefined("the loss that was given does not depend on the network's output")
        if not value.isfinite():
            raise Undefined("the loss that was given is not finite")
        return value.reshape(())


def require_classes(output: Tensor) -> None:
    """Raise `Undefined` unless an output is logits of several classes."""
    if output.ndim != 2:
        raise Undefined(
            f"the network returned {tuple(output.shape)} and no logits (batch, classes), so that there is no "
            "cross-entropy; give loss=, or output= that returns logits"
        )
    if output.shape[1] < 2:
        raise Undefined(
            "the network has one output, for which cross-entropy is always zero; give a loss of its own, loss="
        )


def _find(returned: Any) -> Any:
    if isinstance(returned, Tensor):
        return returned
    named = getattr(returned, "logits", None)
    if isinstance(named, Tensor):
        return named
    if isinstance(returned, Mapping):
        return next((returned[name] for name in NAMES if isinstance(returned.get(name), Tensor)), None)
    if isinstance(returned, tuple | list) and returned:
        return _find(returned[0])
    return None


def _called(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call what the user gave."""
    try:
        return function(*arguments)
    except (InputError, Undefined):
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(a.shape)) if isinstance(a, Tensor) else type(a).__name__ for a in arguments)
        raise InputError(f"{name}= failed on {shapes}: {type(error).__name__}: {error}") from error
