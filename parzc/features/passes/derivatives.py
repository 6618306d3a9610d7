"""Derivatives of a recorded pass with respect to the weights of its calls."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from parzc.features.passes.nodes import Node


def backward(value: Tensor, nodes: Sequence[Node], keep: bool = False) -> None:
    """Leave the gradient of `value` with respect to each call's weight in its `.grad`, zero where it has none.

    Args:
        value: a scalar.
        nodes: of the pass that it comes from.
        keep: whether another derivative is to be taken of the same pass.
    """
    weights = [call.weight for node in nodes for call in node.calls]
    if value.requires_grad:
        gradients = torch.autograd.grad(value, weights, retain_graph=keep, allow_unused=True, materialize_grads=True)
    else:
        gradients = tuple(torch.zeros_like(w) for w in weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient


def hessian_gradient(loss: Tensor, nodes: Sequence[Node]) -> dict[str, Tensor]:
    """Return the Hessian of `loss` times its gradient, at each node by name."""
    options: Mapping[str, Any] = {"allow_unused": True, "materialize_grads": True}
    weights = [call.weight for node in nodes for call in node.calls]
    products = tuple(torch.zeros_like(w) for w in weights)
    if loss.requires_grad:
        gradients = iter(torch.autograd.grad(loss, weights, create_graph=True, **options))
        # The calls of one weight have one gradient, their sum.
        whole = [torch.stack([next(gradients) for _ in node.calls]).sum(0) for node in nodes]
        product = torch.stack([(g * g.detach()).sum() for g in whole]).sum()
        if product.requires_grad:
            products = torch.autograd.grad(product, weights, **options)
    found = iter(products)
    return {node.name: torch.stack([next(found) for _ in node.calls]).sum(0) for node in nodes}


def plain_attention() -> AbstractContextManager[None]:
    """Have attention computed step by step, because its fused kernels have no second derivative."""
    context: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return context
