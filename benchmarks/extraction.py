"""Seconds of extraction, as ratios to one plain forward and backward pass of the same network.

    python benchmarks/extraction.py

One thread, batch 16, three architectures of NAS-Bench-201 from small to large. What is compared runs in turns, so that
a machine that grows slower or faster does so for all; medians over the turns are recorded.
"""

import json
import statistics
import time
from collections.abc import Callable

import torch
from nb201 import RESULTS, machine
from torch.nn import functional as F

from parzc.datasets import get_space
from parzc.features import extract, list_proxies
from parzc.features.store import write_atomically

ARCHS = {
    "small": "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|",
    "middle": "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
    "large": "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
}
TURNS = 3
PAPER = ("grad_norm", "snip", "synflow")


def main() -> None:
    torch.set_num_threads(1)
    everything = [name for name in list_proxies() if name != "grasp"]
    record = {"threads": 1, "batch": 16, "turns": TURNS, "machine": machine(), "archs": {}}
    for name, arch in ARCHS.items():
        seconds = measure(arch, everything)
        plain = seconds["plain"]
        alone = sum(value for what, value in seconds.items() if what.startswith("alone: "))
        record["archs"][name] = {
            "arch": arch,
            "plain": round(plain, 5),
            "ratios": {
                "the paper's three statistics": round(seconds["paper"] / plain, 3),
                "all proxies but grasp": round(seconds["everything"] / plain, 3),
                "the same, one by one": round(alone / plain, 3),
                "grasp": round(seconds["grasp"] / plain, 3),
            },
            "everything / one by one": round(seconds["everything"] / alone, 4),
            "seconds": {what: round(value, 6) for what, value in seconds.items()},
        }
        print(name, record["archs"][name]["ratios"], record["archs"][name]["everything / one by one"], flush=True)
    write_atomically(RESULTS / "extraction.json", (json.dumps(record, indent=1) + "\n").encode())


def measure(arch: str, everything: list[str]) -> dict[str, float]:
    """Return the median seconds of each piece of work over the turns."""
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
        "plain": plain,
        "everything": extracting(*everything),
        "paper": extracting(*PAPER),
        "grasp": extracting("grasp"),
        **{f"alone: {name}": extracting(name) for name in everything},
    }
    taken: dict[str, list[float]] = {what: [] for what in work}
    for turn in range(TURNS + 1):
        for what, run in work.items():
            start = time.perf_counter()
            run()
            if turn:  # the first warms up
                taken[what].append(time.perf_counter() - start)
    return {what: statistics.median(values) for what, values in taken.items()}


if __name__ == "__main__":
    main()
