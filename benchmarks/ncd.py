"""Whether scores of activation patterns rise when networks grow: plain, and with the masking and layer norm of NCD.

    python benchmarks/ncd.py

Two sequences: the cells of NAS-Bench-201 with all six edges convolutions, of which more and more are 3x3 instead of
1x1; and a plain network of eight layers whose kernels grow from 1x1 to 9x9. Recorded is Kendall's tau between the place
in the sequence and the score, over initialisations and inputs drawn with ten seeds.
"""

import numpy as np
import torch
from _records import RESULTS, machine, write
from scipy.stats import kendalltau
from torch import nn

from parzc.datasets import get_space
from parzc.datasets.spaces._base import initialise
from parzc.features import score

PROXIES = ("nwot", "ncd_nwot", "swap", "ncd_swap")
SEEDS = range(10)
KERNELS = (1, 3, 5, 7, 9)
GROWN = (0, 3, 5, 1, 4, 2)
"""The edges of a cell in the order in which they grow: the longest path first."""


def cell(step: int, seed: int) -> nn.Module:
    ops = ["nor_conv_1x1"] * 6
    for edge in GROWN[:step]:
        ops[edge] = "nor_conv_3x3"
    arch = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops)
    return get_space("nb201").network(arch, seed=seed)


def plain(kernel: int, seed: int, width: int = 16, depth: int = 8) -> nn.Module:
    def build() -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(depth):
            conv = nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))

    return initialise(build, seed)


def main() -> None:
    torch.set_num_threads(1)
    sequences = {
        "1x1 to 3x3 in a cell": [lambda seed, k=k: cell(k, seed) for k in range(7)],
        "kernels of 1 to 9": [lambda seed, k=k: plain(k, seed) for k in KERNELS],
    }
    record = {"batch": 16, "inputs": "gaussian", "seeds": list(SEEDS), "machine": machine(), "results": {}}
    for name, builders in sequences.items():
        scores = np.array([[values(build(seed), seed) for build in builders] for seed in SEEDS])
        record["results"][name] = {}
        for i, proxy in enumerate(PROXIES):
            taus = [kendalltau(range(len(builders)), run[:, i]).statistic for run in scores]
            record["results"][name][proxy] = {
                "tau": round(float(np.mean(taus)), 3),
                "std": round(float(np.std(taus)), 3),
                "mean scores": [round(float(v), 2) for v in scores[:, :, i].mean(0)],
            }
            print(name, proxy, record["results"][name][proxy], flush=True)
    write(RESULTS / "ncd.json", record)


def values(network: nn.Module, seed: int) -> list[float]:
    inputs = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    scores = score(network, inputs, PROXIES, seed=seed)
    return [scores[name] for name in PROXIES]


if __name__ == "__main__":
    main()
