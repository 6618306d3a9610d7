"""AutoFormer: vision transformers of varied depth, width, heads and MLP ratios (Chen et al., ICCV 2021,
arXiv:2107.00651).

An architecture is written `embed_dim=192, mlp_ratio=3.5/4/..., num_heads=3/4/...` with one number for each layer;
tables may have the columns `layer_num`, `embed_dim`, `mlp_ratio`, `num_heads` in place of `arch`. Parameters equal
those that the published code counts for a subnet of the supernet (`get_sampled_params_numel`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from parzc.datasets.spaces._base import Cost, Graph, Slot, Space, Task, initialise
from parzc.datasets.spaces._decisions import Choice, Decision, as_generator, checked_choices
from parzc.datasets.spaces._vit import HEAD_CHANNELS, MAX_DISTANCE, PATCH, VisionTransformer
from parzc.errors import InputError

EXAMPLE = "embed_dim=192, mlp_ratio=3.5/4/3.5/..., num_heads=3/4/3/..."
MLP_RATIOS = (3.0, 3.5, 4.0)
"""All that an architecture may have: the published AutoFormer-T has layers of 3, which its space does not draw."""
PARTS = ("attention.qkv", "attention.proj", "fc1", "fc2")

_NUMBER = r"\d+(?:\.\d+)?"
_ARCH = re.compile(rf"embed_dim=(\d+), mlp_ratio=({_NUMBER}(?:/{_NUMBER})*), num_heads=(\d+(?:/\d+)*)")


@dataclass(frozen=True)
class Shape:
    """What an architecture says: channels of a token, and for each layer its MLP ratio and number of heads."""

    embed_dim: int
    mlp_ratio: tuple[float, ...]
    num_heads: tuple[int, ...]

    @property
    def hidden(self) -> tuple[int, ...]:
        """Hidden channels of the perceptron of each layer."""
        return tuple(int(self.embed_dim * ratio) for ratio in self.mlp_ratio)

    def __str__(self) -> str:
        """Return the notation of the space."""
        ratios, heads = ("/".join(f"{value:g}" for value in values) for values in (self.mlp_ratio, self.num_heads))
        return f"embed_dim={self.embed_dim}, mlp_ratio={ratios}, num_heads={heads}"


class AutoFormer(Space):
    """The subnets of one supernet; subclasses say which."""

    citation = "Chen et al., AutoFormer, ICCV 2021"
    tasks = MappingProxyType(
        {
            "imagenet": Task("imagenet", (3, 224, 224), 1000, step=PATCH),
            "cifar100": Task("cifar100", (3, 224, 224), 100, step=PATCH),
            "flowers": Task("flowers", (3, 224, 224), 102, step=PATCH),
            "chaoyang": Task("chaoyang", (3, 224, 224), 4, step=PATCH),
        }
    )
    columns = ("layer_num", "embed_dim", "mlp_ratio", "num_heads")
    depths: tuple[int, ...]
    embed_dims: tuple[int, ...]
    mlp_ratios: tuple[float, ...]
    heads: tuple[int, ...]

    def __init__(self) -> None:
        self.operations = (
            "input",
            *(f"{width} channels" for width in self.embed_dims),
            *(f"{heads} heads" for heads in self.heads),
            *(f"MLP ratio {ratio:g}" for ratio in MLP_RATIOS),
            "output",
        )
        self.decisions = self._decisions()
        # All layers have one resolution; the parts of a layer take the place of stages.
        names = [(i, stage, part) for i in range(max(self.depths)) for stage, part in enumerate(PARTS)]
        layers = [Slot(f"layers.{i}.{part}", f"layer {i}", stage, i + 1) for i, stage, part in names]
        last = Slot("classifier", "classifier", 0, max(self.depths) + 1, False)
        self.slots = (Slot("embedding.patches", "patches", 0, 0, False), *layers, last)

    @property
    def size(self) -> int:
        """The number of subnets."""
        layers = len(self.mlp_ratios) * len(self.heads)
        sizes: list[int] = [layers**depth for depth in self.depths]
        return len(self.embed_dims) * sum(sizes)

    def _decisions(self) -> tuple[Decision, ...]:
        fewest, layers = min(self.depths), []
        for i in range(max(self.depths)):
            for name, choices in ((f"num_heads {i}", self.heads), (f"mlp_ratio {i}", self.mlp_ratios)):
                needs = tuple(depth for depth in self.depths if depth > i)
                layers.append(Decision(name, choices, "layer_num", needs) if i >= fewest else Decision(name, choices))
        return (Decision("embed_dim", self.embed_dims), Decision("layer_num", self.depths), *layers)

    def compose(self, choices: Mapping[str, Choice]) -> str:
        """Return the subnet with this width, number of layers, and heads and MLP ratio of each layer."""
        chosen = checked_choices(choices, self.decisions, self.name)
        layers = range(chosen["layer_num"])
        ratios, heads = (tuple(chosen[f"{name} {i}"] for i in layers) for name in ("mlp_ratio", "num_heads"))
        return str(Shape(chosen["embed_dim"], ratios, heads))

    def decompose(self, arch: str) -> dict[str, Choice]:
        """Return width, number of layers, and heads and MLP ratio of each layer.

        Raises:
            InputError: if `arch` is not in the space, or has an MLP ratio that the space does not draw.
        """
        shape = self.parse(arch)
        chosen: dict[str, Choice] = {"embed_dim": shape.embed_dim, "layer_num": len(shape.num_heads)}
        for i, (heads, ratio) in enumerate(zip(shape.num_heads, shape.mlp_ratio, strict=True)):
            chosen |= {f"num_heads {i}": heads, f"mlp_ratio {i}": ratio}
        return checked_choices(chosen, self.decisions, self.name)

    def parse(self, arch: str) -> Shape:
        """Return what `arch` says.

        Raises:
            InputError: if it is no subnet of the supernet; the message says why.
        """
        found = _ARCH.fullmatch(arch) if isinstance(arch, str) and len(arch) < 1_000 else None
        if found is None:
            raise InputError(f"'{str(arch)[:200]}' is not an arch of {self.name}; write it like '{EXAMPLE}'")
        width, ratios, heads = found.groups()
        shape = Shape(int(width), tuple(map(float, ratios.split("/"))), tuple(map(int, heads.split("/"))))
        for what, values, choices in (
            ("embed_dim", (shape.embed_dim,), self.embed_dims),
            ("number of layers", (len(shape.num_heads),), self.depths),
            ("mlp_ratio", shape.mlp_ratio, MLP_RATIOS),
            ("num_heads", shape.num_heads, self.heads),
        ):
            wrong = [value for value in values if value not in choices]
            if wrong:
                known = ", ".join(f"{choice:g}" for choice in choices)
                raise InputError(f"'{arch[:200]}' is not an arch of {self.name}: {what} {wrong[0]:g} is not in {known}")
        if len(shape.mlp_ratio) != len(shape.num_heads):
            raise InputError(
                f"'{arch[:200]}' is not an arch of {self.name}: {len(shape.mlp_ratio)} values of mlp_ratio, but "
                f"{len(shape.num_heads)} of num_heads; give one for each layer"
            )
        return shape

    def spell(self, row: Mapping[str, str]) -> str:
        """Return the architecture that the columns `layer_num`, `embed_dim`, `mlp_ratio`, `num_heads` say."""
        arch = f"embed_dim={row['embed_dim']}, mlp_ratio={row['mlp_ratio']}, num_heads={row['num_heads']}"
        shape = self.parse(arch)
        if row["layer_num"] != str(len(shape.num_heads)):
            raise InputError(
                f"layer_num is {row['layer_num']}, but there are {len(shape.num_heads)} layers; correct it"
            )
        return str(shape)

    def network(self, arch: str, task: str = "", seed: int = 0) -> VisionTransformer:
        """Build the subnet for the resolution of the task, its weights drawn from `seed` as published."""
        shape, target = self.parse(arch), self.task(task)
        side, classes = target.input_shape[1], target.classes
        return initialise(
            lambda: VisionTransformer(shape.embed_dim, shape.num_heads, shape.hidden, side, classes), seed
        )

    def graph(self, arch: str) -> Graph:
        """Return a chain: the width, then heads and MLP ratio of each layer; each reads what the one before wrote."""
        shape = self.parse(arch)
        labels = ["input", f"{shape.embed_dim} channels"]
        for heads, ratio in zip(shape.num_heads, shape.mlp_ratio, strict=True):
            labels += [f"{heads} heads", f"MLP ratio {ratio:g}"]
        return Graph((*labels, "output"), np.eye(len(labels) + 1, k=1, dtype=np.bool_))

    def canonical(self, arch: str) -> str:
        """Return `arch` with numbers written in one way: no two subnets compute the same function."""
        return str(self.parse(arch))

    def cost(self, arch: str, task: str = "") -> Cost:
        """Return the counts of the subnet; operations are those of convolution and linear layers, biases included.

        Products of queries with keys, of attention with values, and with relative positions are not among them.
        """
        shape, target = self.parse(arch), self.task(task)
        width, patches = shape.embed_dim, (target.input_shape[1] // PATCH) ** 2
        patch, head = (3 * PATCH * PATCH + 1) * width, (width + 1) * target.classes
        params, macs = patch + (patches + 2) * width + 2 * width + head, patches * patch + head
        for heads, hidden in zip(shape.num_heads, shape.hidden, strict=True):
            inner = heads * HEAD_CHANNELS
            linear = (width + 1) * 3 * inner + (inner + 1) * width + (width + 1) * hidden + (hidden + 1) * width
            tables = 4 * (2 * MAX_DISTANCE + 2) * HEAD_CHANNELS
            params, macs = params + linear + tables + 4 * width, macs + (patches + 1) * linear
        return Cost(params, macs, 2 + len(PARTS) * len(shape.num_heads))

    def draw(self, generator: np.random.Generator) -> str:
        """Return a subnet whose depth, width, heads and MLP ratios are drawn uniformly."""
        depth = int(generator.choice(self.depths))
        ratios = tuple(float(ratio) for ratio in generator.choice(self.mlp_ratios, depth))
        heads = tuple(int(number) for number in generator.choice(self.heads, depth))
        return str(Shape(int(generator.choice(self.embed_dims)), ratios, heads))

    def mutate(self, arch: str, seed: np.random.Generator | int) -> str:
        """Return the subnet with another width, another depth, or another MLP ratio or number of heads in one layer.

        A deeper one repeats choices of random layers behind the last; a shallower one loses its last layers.
        """
        shape, generator = self.parse(arch), as_generator(seed)
        depth = len(shape.num_heads)
        place = int(generator.integers(2 + 2 * depth))
        if place == 0:
            return str(replace(shape, embed_dim=int(_other(self.embed_dims, shape.embed_dim, generator))))
        if place == 1:
            wanted = int(_other(self.depths, depth, generator))
            kept = [*range(min(depth, wanted)), *generator.integers(depth, size=max(wanted - depth, 0))]
            ratios, heads = ([values[i] for i in kept] for values in (shape.mlp_ratio, shape.num_heads))
            return str(Shape(shape.embed_dim, tuple(ratios), tuple(int(number) for number in heads)))
        layer, heads_too = divmod(place - 2, 2)
        if heads_too:
            changed = list(shape.num_heads)
            changed[layer] = int(_other(self.heads, changed[layer], generator))
            return str(replace(shape, num_heads=tuple(changed)))
        changed_ratios = list(shape.mlp_ratio)
        changed_ratios[layer] = _other(self.mlp_ratios, changed_ratios[layer], generator)
        return str(replace(shape, mlp_ratio=tuple(changed_ratios)))


def _other(choices: tuple[float, ...], value: float, generator: np.random.Generator) -> float:
    others = [choice for choice in choices if choice != value]
    return others[int(generator.integers(len(others)))]


class AutoFormerTiny(AutoFormer):
    """Subnets of the supernet of 14 layers and 256 channels."""

    name = "autoformer-tiny"
    depths, embed_dims, mlp_ratios, heads = (12, 13, 14), (192, 216, 240), (3.5, 4.0), (3, 4)


class AutoFormerSmall(AutoFormer):
    """Subnets of the supernet of 14 layers and 448 channels."""

    name = "autoformer-small"
    depths, embed_dims, mlp_ratios, heads = (12, 13, 14), (320, 384, 448), (3.0, 3.5, 4.0), (5, 6, 7)


class AutoFormerBase(AutoFormer):
    """Subnets of the supernet of 16 layers and 640 channels."""

    name = "autoformer-base"
    depths, embed_dims, mlp_ratios, heads = (14, 15, 16), (528, 576, 624), (3.0, 3.5, 4.0), (9, 10)
