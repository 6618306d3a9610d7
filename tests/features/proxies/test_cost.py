"""Static costs against counts by hand, the published figures and torch's own counter."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from parzc.datasets import get_space
from parzc.features import extract, score

NAMES = ["params", "flops", "n_layers"]


def small():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(100, 5)
    )


def test_counts_by_hand():
    """Batch norm has parameters but no multiply-accumulates; a bias counts one addition per output."""
    scores = score(small(), torch.zeros(2, 3, 5, 5), NAMES)
    assert scores == {"params": 108 + 8 + 505, "flops": 25 * 4 * 27 + 505, "n_layers": 2}


@pytest.mark.parametrize("batch", [1, 7])
def test_the_batch_does_not_matter(batch):
    network = small().eval()
    assert score(network, torch.zeros(batch, 3, 5, 5), NAMES) == {"params": 621, "flops": 3205, "n_layers": 2}


def test_frozen_parameters_count():
    network = small().requires_grad_(False)
    assert score(network, torch.zeros(2, 3, 5, 5), ["params"]) == {"params": 621}


def test_a_layer_that_runs_twice_is_one_layer_at_twice_the_cost():
    layer = nn.Linear(5, 5)
    assert score(nn.Sequential(layer, layer), torch.zeros(2, 5), NAMES) == {"params": 30, "flops": 60, "n_layers": 1}


def test_a_layer_that_never_runs_has_parameters_only():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(5, 5), nn.Linear(5, 5)

        def forward(self, x):
            return self.used(x)

    assert score(Idle(), torch.zeros(2, 5), NAMES) == {"params": 60, "flops": 30, "n_layers": 1}


@pytest.mark.parametrize(
    ("arch", "task", "expected"),
    [
        (
            "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|",
            "cifar10",
            (559_386, 78_561_930, 38),
        ),
        ("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|", "cifar10", (73_306, 7_783_050, 8)),
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|",
            "imagenet16",
            (1_080_616, 38_325_880, 83),
        ),
    ],
)
def test_published_counts_of_nas_bench_201(arch, task, expected):
    space = get_space("nb201")
    x = torch.zeros(2, *space.task(task).input_shape)
    assert tuple(score(space.network(arch, task), x, NAMES).values()) == expected


def test_flops_are_half_of_what_torch_counts_plus_the_biases():
    network = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6, bias=False),
        nn.ConvTranspose2d(6, 4, 2, stride=2),
        nn.Flatten(),
        nn.Linear(256, 5),
    )
    x = torch.zeros(1, 4, 9, 9)
    with FlopCounterMode(display=False) as counter:
        network(x)
    biases = 16 * 6 + 64 * 4 + 5
    assert score(network, x, ["flops"])["flops"] == counter.get_total_flops() / 2 + biases


def test_fields_describe_each_node():
    features = extract(small(), torch.zeros(2, 3, 5, 5), proxies=["params"])
    # Depth, weights, output channels, multiply-accumulates.
    assert features.fields.tolist() == [[0, 108, 4, 2700], [1, 500, 5, 505]]
    assert features.kinds == ("conv2d", "linear")
    assert features.statistics == {}
    assert len(features) == 2
