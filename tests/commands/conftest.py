"""A small table of real architectures with made-up accuracies, and a ranker that trains in no time."""

import csv

import numpy as np
import pytest
from helpers import SMALL

from parzc.datasets import get_space
from parzc.ranker import presets

SPACE = get_space("nb201")
DIRECT = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
TWIN = "|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
"""`DIRECT` with dead parts."""


@pytest.fixture(scope="session")
def archs():
    """Sixty architectures, two of which compute the same function."""
    drawn = [arch for arch in SPACE.sample(70, 0) if SPACE.canonical(arch) != SPACE.canonical(DIRECT)]
    return [DIRECT, *drawn[:58], TWIN]


@pytest.fixture(scope="session")
def accuracies(archs):
    """Validation and test accuracy: 1 for each live convolution of a cell, and noise."""
    rng = np.random.default_rng(0)
    layers = np.array([(SPACE.cost(SPACE.canonical(arch)).n_layers - 8) / 15 for arch in archs])
    return {"cifar10_valid": 80 + layers + 0.3 * rng.normal(size=60), "cifar10_test": 80 + layers + rng.random(60) / 2}


@pytest.fixture(scope="session")
def csv_table(archs, accuracies, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "accuracies.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["arch", *accuracies])
        writer.writerows(zip(archs, *accuracies.values(), strict=True))
    return path


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A preset of this name."""
    with pytest.MonkeyPatch.context() as patch:
        preset = presets.PRESETS["default"].override(SMALL)
        patch.setattr(presets, "PRESETS", {**presets.PRESETS, "quick": preset})
        yield
