"""A pass that runs at most once, and the error that says why there is nothing to record."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from parzc.errors import InputError


class Undefined(ArithmeticError):
    """A proxy has no value for this network; the message says why, and becomes the reason that people read."""


FIRST = "forward"
"""The pass that runs the network on the inputs given."""


def said(error: BaseException) -> str:
    """Return what an error says, in one line of at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


class _Once(cached_property[Any]):
    """A cached property that also keeps the reason why it is undefined.

    Images run with channels last in memory first. Where a pass fails on them, it runs again on contiguous inputs, which
    some networks require (those that call `Tensor.view`, for example).

    A pass that fails in whatever other way is undefined as well, so that it takes no other proxy along. Errors of the
    first pass come out as they are: it is the network with its own inputs that fails.
    """

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None or self.attrname in instance.__dict__:
            return super().__get__(instance, owner)
        reasons = instance.__dict__.setdefault("_reasons", {})
        if self.attrname in reasons:
            raise Undefined(reasons[self.attrname])
        try:
            return super().__get__(instance, owner)
        except Undefined as reason:
            if not isinstance(reason.__cause__, RuntimeError) or not instance.make_contiguous():
                reasons[self.attrname] = str(reason)
                raise
        except (InputError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if not isinstance(error, RuntimeError) or not instance.make_contiguous():
                if self.attrname == FIRST:
                    raise
                reasons[self.attrname] = f"the pass '{self.attrname}' failed: {said(error)}"
                raise Undefined(reasons[self.attrname]) from error
        return self.__get__(instance, owner)


if TYPE_CHECKING:
    once = cached_property
else:
    once = _Once
