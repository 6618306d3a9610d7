"""Runs a network on copies of its state, so that it comes back as it was; draws other initial weights; randomness."""

import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

Transform = Callable[[str, Tensor], Tensor]
"""What to compute with instead of the parameter or buffer of that name."""


class Contents:
    """The modules, parameters and buffers of a network by name, each once, from one walk through it.

    `holders` are the modules that have buffers of their own.
    """

    def __init__(self, network: nn.Module) -> None:
        self.modules: dict[str, nn.Module] = dict(network.named_modules())
        self.parameters = _named(self.modules, "_parameters")
        self.buffers = _named(self.modules, "_buffers")
        self.holders = [module for module in self.modules.values() if module._buffers]


def _named(modules: dict[str, nn.Module], kind: str) -> dict[str, Tensor]:
    found: dict[int, tuple[str, Tensor]] = {}
    for path, module in modules.items():
        for name, t in getattr(module, kind).items():
            if t is not None:
                found.setdefault(id(t), (f"{path}.{name}".removeprefix("."), t))
    return dict(found.values())


@contextmanager
def untouched(
    network: nn.Module, seed: int, transform: Transform | None = None, contents: Contents | None = None
) -> Iterator[None]:
    """Run `network` in training mode on copies of its state and leave it, and the random state, as they were.

    Args:
        network: any module.
        seed: of whatever the network draws, such as dropout masks.
        transform: applied to every floating parameter and buffer for the time being; parameters stay as they are where
            it is not given.
        contents: of the network, if they are known.
    """
    contents = contents or Contents(network)
    modes = [(module, module.training) for module in contents.modules.values()]
    # Networks may have a way of their own to go into training mode.
    trains = all(mode and type(module).train is nn.Module.train for module, mode in modes)
    named = [(n, t) for n, t in contents.parameters.items() if transform and t.is_floating_point()]
    kept = [(name, t, t.data) for name, t in (*named, *contents.buffers.items())]
    buffers = [(module, dict(module._buffers)) for module in contents.holders]
    with _seeded(seed, {t.device for t in contents.parameters.values()}):
        try:
            for name, t, data in kept:
                t.data = transform(name, data) if transform and data.is_floating_point() else data.clone()
            if not trains:
                network.train()
            yield
        finally:
            for module, own in buffers:
                module._buffers.update(own)
            for _, t, data in kept:
                t.data = data
            for module, mode in modes:
                if module.training != mode:
                    module.training = mode


@contextmanager
def _seeded(seed: int, devices: set[torch.device]) -> Iterator[None]:
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=sorted(d.index for d in devices if d.type == "cuda")):
        # Torch would also queue up the seed, with a traceback, for a GPU that is not in use.
        on_cpu = all(device.type == "cpu" for device in devices)
        (torch.default_generator.manual_seed if on_cpu else torch.manual_seed)(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


@contextmanager
def with_gradients() -> Iterator[None]:
    """Record gradients, whatever the caller has switched off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def generator(seed: int, name: str) -> torch.Generator:
    """Return a source of random numbers that belongs to one name: a place draws the same in every network."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))


def random_bytes(n: int, seed: int, name: str = "") -> Tensor:
    """Return `n` uniform bytes that belong to one name, `(n,)`."""
    source = np.random.PCG64([seed % 2**32, zlib.crc32(name.encode())])
    return torch.from_numpy(source.random_raw(-(-n // 8))).view(torch.uint8)[:n]


def random_signs(like: Tensor, seed: int, name: str) -> Tensor:
    """Return -1 or 1, equally likely, in the shape and memory layout of `like`; the draws belong to one name."""
    drawn = random_bytes(-(-like.numel() // 8), seed, name)
    bits = torch.from_numpy(np.unpackbits(drawn.numpy(), count=like.numel(), bitorder="little"))
    # In bytes as long as possible, which are a quarter of the memory.
    signs = torch.empty_like(like, dtype=torch.int8).copy_(bits.view(like.shape)).mul_(2).sub_(1)
    return torch.empty_like(like).copy_(signs)


def gaussian(like: Tensor, seed: int) -> Tensor:
    """Return standard normal numbers of the shape and device of `like`, in its format where that is floating."""
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
    return drawn.to(like.device, dtype)


class Drawn:
    """Other initial weights for a network: what has two axes or more is drawn anew, biases are zero, norm scales one.

    The network itself keeps its weights; what is returned is used in place of them.

    Draws are seeded by the name of the parameter, are made once, and serve several initialisations.
    """

    def __init__(self, network: nn.Module, seed: int, contents: Contents | None = None) -> None:
        self._seed, self._normal, contents = seed, dict[str, Tensor](), contents or Contents(network)
        self._scales = {
            f"{path}.weight".removeprefix(".")
            for path, module in contents.modules.items()
            if "norm" in type(module).__name__.lower()
        }
        self._parameters = contents.parameters.keys()

    def normal(self, name: str, t: Tensor) -> Tensor:
        """Draw weights from the standard normal distribution (ZenNAS)."""
        if name not in self._parameters:
            return t.detach().clone()
        if name.rpartition(".")[2].endswith("bias"):
            return torch.zeros_like(t)
        if t.ndim < 2:
            return torch.ones_like(t) if name in self._scales else t.detach().clone()
        if name not in self._normal:
            drawn = torch.randn(t.shape, generator=generator(self._seed, name))
            self._normal[name] = drawn.to(t.device, t.dtype)
        return self._normal[name].clone()

    def kaiming(self, name: str, t: Tensor) -> Tensor:
        """Draw weights from the normal distribution of variance 2 / fan-in (He et al. 2015, arXiv:1502.01852)."""
        drawn = self.normal(name, t)
        return drawn * (2 / t[0].numel()) ** 0.5 if name in self._normal else drawn
