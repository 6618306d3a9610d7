"""A search space of six decisions, one of them conditional: small convolutional networks for 16 x 16 images."""

from torch import nn

from parzc import Choices


def build(width, depth, kernel, block, pool, block_expansion=1):
    network, c_in = nn.Sequential(), 3
    for i in range(depth):
        hidden = width * block_expansion if block == "wide" else width
        network.add_module(f"conv{i}", nn.Conv2d(c_in, hidden, kernel, padding=kernel // 2, bias=False))
        network.add_module(f"norm{i}", nn.BatchNorm2d(hidden))
        network.add_module(f"relu{i}", nn.ReLU())
        if i == 0:
            network.add_module("pool", nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))
        c_in = hidden
    network.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, 10)))
    return network


block = {"plain": {}, "wide": {"expansion": [2, 4]}}
choices = {"width": [4, 8, 16], "depth": [1, 2, 3], "kernel": [1, 3, 5], "block": block, "pool": ["max", "mean"]}
space = Choices(build, choices, name="choices", input_shape=(3, 16, 16))
