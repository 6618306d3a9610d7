"""Seconds of extraction, as ratios to one plain forward and backward pass of the same network.

    python benchmarks/extraction.py

One thread, batch 16, three architectures of NAS-Bench-201 from small to large, in a process set up like a worker. Plain
passes run before and after each piece of work, which is divided by their mean, so that a machine that grows slower or
faster does so for both; medians over the turns are recorded, of which there are enough that those count little in
which the memory of the process still grows.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from _records import RESULTS, machine, write
from torch.nn import functional as F

from parzc.datasets import get_space
from parzc.features import extract, list_proxies
from parzc.features.extraction.engines.local import ENVIRONMENT

ARCHS = {
    "small": "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|",
    "middle": "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
    "large": "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
}
TURNS = 9
PAPER = ("grad_norm", "snip", "synflow")
CHEAP = ("params", "flops", "n_layers", *PAPER, "plain", "fisher", "l2_norm", "nwot", "jacob_cov")
RECORD = RESULTS / "extraction.json"


def main() -> None:
    if not ENVIRONMENT.items() <= os.environ.items():
        # An allocator reads its environment when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ENVIRONMENT)
    torch.set_num_threads(1)
    everything = [name for name in list_proxies() if name != "grasp"]
    record = {"threads": 1, "batch": 16, "turns": TURNS, "machine": machine(), "archs": {}}
    for name, arch in ARCHS.items():
        ratios, plain = measure(arch, everything)
        alone = sum(value for what, value in ratios.items() if what.startswith("alone: "))
        record["archs"][name] = {
            "arch": arch,
            "plain": round(plain, 5),
            "ratios": {
                "the paper's three statistics": round(ratios["paper"], 3),
                "all cheap ones": round(ratios["cheap"], 3),
                "all proxies but grasp": round(ratios["everything"], 3),
                "the same, one by one": round(alone, 3),
                "grasp": round(ratios["grasp"], 3),
            },
            "everything / one by one": round(ratios["everything"] / alone, 4),
            "all ratios": {what: round(value, 4) for what, value in ratios.items()},
        }
        print(name, record["archs"][name]["ratios"], record["archs"][name]["everything / one by one"], flush=True)
    write(RECORD, record)


def measure(arch: str, everything: list[str]) -> tuple[dict[str, float], float]:
    """Return the median ratio of each piece of work to plain passes over the turns, and the seconds of a plain pass."""
    network = get_space("nb201").network(arch)
    inputs = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(16) % 10

    def plain() -> None:
        network.zero_grad(set_to_none=True)
        F.cross_entropy(network(inputs), labels).backward()
        network.zero_grad(set_to_none=True)

    def extracting(*proxies: str) -> Callable[[], None]:
        return lambda: extract(network, inputs, labels, proxies) and None

    work = {
        "everything": extracting(*everything),
        "paper": extracting(*PAPER),
        "cheap": extracting(*CHEAP),
        "grasp": extracting("grasp"),
        **{f"alone: {name}": extracting(name) for name in everything},
    }
    taken: dict[str, list[float]] = {what: [] for what in work}
    passes: list[float] = []
    for turn in range(TURNS + 1):
        for what, run in work.items():
            before, own, after = seconds(plain), seconds(run), seconds(plain)
            if turn:  # the first warms up
                taken[what].append(2 * own / (before + after))
                passes += [before, after]
    return {what: statistics.median(values) for what, values in taken.items()}, statistics.median(passes)


def seconds(run: Callable[[], None]) -> float:
    """Return how long one call takes, and the mean of three for what takes less than a tenth of a second."""
    start = time.perf_counter()
    run()
    taken = time.perf_counter() - start
    if taken > 0.1:
        return taken
    start = time.perf_counter()
    for _ in range(3):
        run()
    return (time.perf_counter() - start) / 3


if __name__ == "__main__":
    main()
