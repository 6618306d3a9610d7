"""The primary blocks of a network: their outputs for Gaussian inputs, and the Jacobian from each block to the next.

Section 3 of AZ-NAS: a primary block is a set of layers with different operations and several paths, such as a cell, a
residual block or a transformer block. Here these are the modules with children inside `Sequential`, `ModuleList` and
`ModuleDict` containers; where a network has none, its convolutions, or else its linear layers. What enters the first
block counts as a block output as well (the stem), unless it is the network's input. The features of a block are its
output.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parzc.features.passes.batch import Batch
from parzc.features.passes.state import random_signs

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Blocks:
    """Measures of the `n` block outputs of a network, in the order in which they were computed.

    Args:
        names: qualified module names; `input of NAME` for what enters the first block.
        entropy: `(n,)` entropies of the normalised spectrum of the features' covariance, NaN where features are
            constant or not finite.
        spectral_norm: `(n - 1,)` largest singular values of the Jacobian from each block output to the next, NaN where
            the one does not depend on the other.
        passed_on: `(n - 1,)` whether gradients come out of the later block as they went in: it is the identity.
    """

    names: tuple[str, ...]
    entropy: NDArray[np.float64]
    spectral_norm: NDArray[np.float64]
    passed_on: NDArray[np.bool_]


def primary_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """Return the primary blocks of a network by name, in the order in which they are registered."""
    blocks = dict(_composites("", network))
    while len(blocks) == 1:
        # The network itself, behind a normalisation or the like: its blocks are within.
        inner = dict(_composites(*next(iter(blocks.items()))))
        if not inner:
            break
        blocks = inner
    if blocks:
        return blocks
    leaves = {n: m for n, m in network.named_modules() if n and not m._modules}
    convolutions = [n for n, m in leaves.items() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    return {n: leaves[n] for n in convolutions or [n for n, m in leaves.items() if isinstance(m, nn.Linear)]}


def _composites(path: str, module: nn.Module, contained: bool = False) -> Iterator[tuple[str, nn.Module]]:
    if contained and module._modules and not _is_container(module):
        yield path, module
        return
    for name, child in module.named_children():
        yield from _composites(f"{path}.{name}".lstrip("."), child, _is_container(module))


def _is_container(module: nn.Module) -> bool:
    """Whether a module only holds others: a subclass with a forward of its own does more."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in CONTAINERS)


@dataclass(frozen=True)
class _Output:
    """What a primary block puts out, linked to the others by autograd."""

    name: str
    features: Tensor
    block: nn.Module

    def channels_second(self, t: Tensor) -> Tensor:
        """Return features as `(batch, channels, ...)`: three axes are tokens with channels last, save in 1-d CNNs."""
        if t.ndim != 3 or any(isinstance(module, nn.Conv1d) for module in self.block.modules()):
            return t
        return t.transpose(1, 2)


def watch_blocks(network: nn.Module, inputs: Tensor | Batch) -> list[_Output]:
    """Run the network and return what each primary block puts out."""
    outputs: list[_Output] = []
    leaves = Batch.of(inputs).leaves()

    def before(name: str, block: nn.Module) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if outputs or not args or not isinstance(args[0], Tensor) or not _has_weights(args[0], leaves.tensors):
                return None
            outputs.append(_Output(f"input of {name}", args[0], block))
            return args[0].clone(), *args[1:]

        return hook

    def after(name: str, block: nn.Module) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            if not isinstance(output, Tensor):
                return output
            outputs.append(_Output(name, output, block))
            # A copy goes on, because what follows may overwrite it.
            return output.clone()

        return hook

    with ExitStack() as stack:
        stack.enter_context(_all_trainable(network))
        for name, block in primary_blocks(network).items():
            stack.enter_context(_removed(block.register_forward_pre_hook(before(name, block))))
            stack.enter_context(_removed(block.register_forward_hook(after(name, block))))
        leaves.clone().run(network)
    return outputs


def _has_weights(t: Tensor, leaves: list[Tensor]) -> bool:
    """Whether anything but `leaves` that requires a gradient has gone into a tensor."""
    known, seen, stack = {id(leaf) for leaf in leaves}, set(), [t.grad_fn]
    while stack:
        function = stack.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if hasattr(function, "variable") and id(function.variable) not in known:
            return True
        stack += [following for following, _ in function.next_functions]
    return False


@contextmanager
def _all_trainable(network: nn.Module) -> Iterator[None]:
    """Record gradients through all weights, frozen ones too, so that autograd links the blocks."""
    frozen = [p for p in network.parameters() if p.is_floating_point() and not p.requires_grad]
    try:
        for p in frozen:
            p.requires_grad_(True)
        yield
    finally:
        for p in frozen:
            p.requires_grad_(False)


@contextmanager
def _removed(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


def measure_blocks(network: nn.Module, inputs: Tensor | Batch, seed: int) -> Blocks:
    """Run the network on `inputs` and measure the outputs of its primary blocks and the Jacobians between them."""
    outputs = watch_blocks(network, inputs)
    jacobians: list[Tensor | None] = []
    passed_on = []
    for i in range(1, len(outputs)):
        before, behind = outputs[i - 1 : i + 1]
        signs, gradient = random_signs(behind.features, seed, f"block {i}"), None
        if behind.features.requires_grad and before.features.requires_grad:
            (gradient,) = torch.autograd.grad(
                behind.features, [before.features], signs, retain_graph=True, allow_unused=True
            )
        passed_on.append(gradient is not None and torch.equal(gradient, signs))
        if gradient is None:
            jacobians.append(None)
        else:
            jacobians.append(_jacobian(before.channels_second(gradient), behind.channels_second(signs)))
    covariances = [_covariance(output.channels_second(output.features.detach())) for output in outputs]
    return Blocks(
        names=tuple(output.name for output in outputs),
        entropy=_of_spectra(_entropies, covariances),
        spectral_norm=_of_spectra(
            _largest_singular_values, [None if j is None else smaller_product(j) for j in jacobians]
        ),
        passed_on=np.array(passed_on, dtype=bool),
    )


def _of_spectra(measure: Callable[[Tensor], Tensor], matrices: Sequence[Tensor | None]) -> NDArray[np.float64]:
    """Measure the eigenvalues of symmetric matrices, those of one size at once.

    Args:
        measure: maps eigenvalues in ascending order, `(n, size)`, to `(n,)`.
        matrices: in float64.

    Returns:
        A value for each matrix, NaN where there is none or where a number is not finite.
    """
    values = np.full(len(matrices), np.nan)
    by_size: dict[int, dict[int, Tensor]] = {}
    for i, matrix in enumerate(matrices):
        if matrix is not None:
            by_size.setdefault(len(matrix), {})[i] = matrix
    for same in by_size.values():
        stacked = torch.stack(list(same.values()))
        finite = stacked.isfinite().flatten(1).all(1)
        spectra = torch.linalg.eigvalsh(torch.where(finite[:, None, None], stacked, 0)).clamp_min_(0)
        values[list(same)] = torch.where(finite, measure(spectra), torch.nan).cpu().numpy()
    return values


def _vectors(features: Tensor) -> Tensor:
    """Return the features at each position of each input, `(positions, channels)`; no copy with channels last."""
    return features.movedim(1, -1).reshape(-1, features.shape[1])


def _covariance(features: Tensor) -> Tensor:
    """Covariance of the features over all positions (eq. 1)."""
    vectors = _vectors(features)
    centred = vectors - vectors.mean(0)
    return (centred.T @ centred).double() / max(len(vectors) - 1, 1)


def _entropies(eigenvalues: Tensor) -> Tensor:
    """Entropy of the L1-normalised eigenvalues (eqs. 2 and 3), NaN where all are zero."""
    total = eigenvalues.sum(1, keepdim=True)
    entropies: Tensor = torch.special.entr(eigenvalues / total).sum(1)
    return entropies


def _jacobian(before: Tensor, behind: Tensor) -> Tensor:
    """Mean over positions of input gradient times output gradient (eq. 10)."""
    axes = max(before.ndim, behind.ndim)
    # Vectors have one position.
    before, behind = (t.reshape(*t.shape, *[1] * (axes - t.ndim)) for t in (before, behind))
    for axis in range(2, axes):
        # Neighbouring positions of the finer one become channels of the position that covers them.
        before, behind = _gathered(before, behind, axis), _gathered(behind, before, axis)
    u, v = _vectors(before), _vectors(behind)
    return (u.T @ v).double() / len(u)


def smaller_product(matrix: Tensor) -> Tensor:
    """Return the smaller product of a matrix with itself, whose eigenvalues are the squared singular values."""
    return matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix


def _largest_singular_values(eigenvalues: Tensor) -> Tensor:
    """Root of the largest eigenvalue (eq. 11)."""
    return eigenvalues[:, -1].sqrt()


def _gathered(fine: Tensor, coarse: Tensor, axis: int) -> Tensor:
    """Give `fine` as many positions along `axis` as `coarse` where it has more."""
    n = coarse.shape[axis]
    if fine.shape[axis] <= n:
        return fine
    ratio = round(fine.shape[axis] / n)
    missing = ratio * n - fine.shape[axis]
    if missing > 0:
        # An odd size, halved and rounded up: the last position covers fewer.
        rest = fine.new_zeros(*fine.shape[:axis], missing, *fine.shape[axis + 1 :])
        fine = torch.cat([fine, rest], axis)
    else:
        # Convolutions without padding lose positions on either side.
        fine = fine.narrow(axis, -missing // 2, ratio * n)
    split = (*fine.shape[:axis], n, ratio, *fine.shape[axis + 1 :])
    return fine.reshape(split).movedim(axis + 1, 1).flatten(1, 2)
