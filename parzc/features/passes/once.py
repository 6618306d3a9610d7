"""A pass that runs at most once, and the error that says why there is nothing to record."""

from functools import cached_property
from typing import TYPE_CHECKING, Any


class Undefined(ArithmeticError):
    """A proxy has no value for this network; the message says why, and becomes the reason that people read."""


class _Once(cached_property[Any]):
    """A cached property that also keeps the reason why it is undefined.

    Images run with channels last in memory first. Where a pass fails on them, it runs again on contiguous inputs, which
    some networks require (those that call `Tensor.view`, for example).
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
        except RuntimeError:
            if not instance.make_contiguous():
                raise
        return self.__get__(instance, owner)


if TYPE_CHECKING:
    once = cached_property
else:
    once = _Once
