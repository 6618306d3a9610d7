"""A search space of 10,368 small convolutional networks for the 8 x 8 digits of scikit-learn."""

from torch import nn

from parzc import Choices

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Block(nn.Module):
    """Convolution, normalisation, activation; the input is added where it has the same shape and `skip` is true."""

    def __init__(self, c_in, c_out, kernel, separable, norm, activation, skip):
        super().__init__()
        groups = c_in if separable else 1
        layers = [nn.Conv2d(c_in, c_in if separable else c_out, kernel, padding=kernel // 2, groups=groups)]
        if separable:
            layers.append(nn.Conv2d(c_in, c_out, 1))
        if norm:
            layers.append(nn.BatchNorm2d(c_out))
        self.layers = nn.Sequential(*layers, ACTIVATIONS[activation]())
        self.skip = skip and c_in == c_out

    def forward(self, x):
        return x + self.layers(x) if self.skip else self.layers(x)


def build(width, growth, kernel1, kernel2, depth1, depth2, separable, skip, norm, activation, pool):
    network, c_in = nn.Sequential(), 1
    for stage, kernel, depth in ((1, kernel1, depth1), (2, kernel2, depth2)):
        c_out = width if stage == 1 else width * growth
        for i in range(depth):
            block = Block(c_in, c_out, kernel, separable and c_in > 1, norm, activation, skip)
            network.add_module(f"stage{stage}_block{i}", block)
            c_in = c_out
        if stage == 1:
            network.add_module("pool", nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))
    network.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, 10)))
    return network


choices = {
    "width": [4, 8, 16],
    "growth": [1, 2],
    "kernel1": [3, 5],
    "kernel2": [1, 3, 5],
    "depth1": [1, 2, 3],
    "depth2": [1, 2],
    "separable": [False, True],
    "skip": [False, True],
    "norm": [False, True],
    "activation": list(ACTIVATIONS),
    "pool": ["max", "mean"],
}
space = Choices(build, choices, name="digits", input_shape=(1, 8, 8), task="digits")
