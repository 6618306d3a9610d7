"""Spaces of choices for tests: a plain one, and one with conditional decisions that is too large to list."""

from torch import nn

from parzc import Choices


def build_plain(width, kernel, skip):
    layers = [nn.Conv2d(3, width, kernel, padding=kernel // 2), nn.ReLU()]
    if not skip:
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def build_staged(width, first, second, first_kernel=None, second_kernel=None, first_se=None, **more):
    network, c_in = nn.Sequential(), 3
    for name, kind, kernel in (("first", first, first_kernel), ("second", second, second_kernel)):
        if kind == "conv":
            network.add_module(name, nn.Conv2d(c_in, width, kernel, stride=2, padding=kernel // 2, bias=False))
            c_in = width
        elif kind == "pool":
            network.add_module(name, nn.MaxPool2d(2))
    for i in range(4):
        network.add_module(f"mix{i}", nn.Conv2d(c_in, more[f"w{i}"], 1))
        c_in = more[f"w{i}"]
    if first_se:
        network.add_module("se", nn.Conv2d(c_in, c_in, 1))
    network.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, 5)))
    return network


PLAIN = Choices(build_plain, {"width": [8, 16, 32], "kernel": [3, 5], "skip": [False, True]}, input_shape=(3, 8, 8))
STAGED = Choices(
    build_staged,
    {
        "width": [4, 8],
        "first": {"conv": {"kernel": (1, 3, 5), "se": [False, True]}, "pool": {}, None: {}},
        "second": {"conv": {"kernel": [3, 5]}, "pool": {}},
        **{f"w{i}": [2, 4, 6, 8, 10, 12, 14, 16] for i in range(4)},
    },
    name="staged",
    input_shape=(3, 16, 16),
    classes=5,
    task="shapes",
    step=4,
)
SPACES = [PLAIN, STAGED]
