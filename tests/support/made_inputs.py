"""Random inputs of token models, and tensors as inputs."""

import torch

from parzc.encoding.inputs import ARCH_PARTS, ArchEncoding, TokenInputs

NAMES = ("tokens", "scores", "blocks", *ARCH_PARTS)


def token_inputs(tensors):
    """Return tensors as inputs: tokens, scores, blocks, and the parts of the architecture encoding if there are six."""
    tokens, scores, blocks, *arch = tensors
    return TokenInputs(tokens, scores, blocks, ArchEncoding(*arch) if arch else None)


def shapes_of(shapes):
    """Return shapes of rows, in the same order, by name."""
    return dict(zip(NAMES, shapes, strict=False))


def random_inputs(n, seed, shapes):
    """Return `n` rows of these shapes, drawn from a normal distribution."""
    generator = torch.Generator().manual_seed(seed)
    return token_inputs([torch.randn(n, *shape, generator=generator) for shape in shapes])


def joined(first, second):
    """Return the rows of two inputs one behind the other."""
    pairs = zip(first.parts.values(), second.parts.values(), strict=True)
    return token_inputs([torch.cat(pair) for pair in pairs])


def changed(inputs, **parts):
    """Return inputs with other tensors where these are named."""
    return token_inputs([parts.get(name, value) for name, value in inputs.parts.items()])
