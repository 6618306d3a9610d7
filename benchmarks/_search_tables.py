"""Tables of what searches find, written into the documents by `report.py`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from _markdown import markdown, recorded

SHOWN = ("20", "30", "50", "100")
NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16": "ImageNet16-120"}


def searched(names: list[str]) -> str:
    """Return a table of one data set of NAS-Bench-201: `FILE DATASET KIND`, KIND being `test` or `valid`."""
    file, dataset, kind = names
    found = recorded(file)["results"][dataset]
    optimum = found["optimum"]
    rows = []
    for name, entry in found.items():
        if name != "optimum":
            cells = [_spread(entry[kind].get(point)) for point in SHOWN]
            after = [n for n in entry["found"] if n is not None]
            reached = f"{len(after)} of {len(entry['found'])}" + (f", after {np.median(after):.0f}" if after else "")
            rows.append([name, *cells, reached])
    head = [NAMES[dataset], *(f"{point} trainings" for point in SHOWN), "seeds that trained the optimum (median after)"]
    return markdown(head, [*rows, [f"optimum: {optimum[kind]:.2f}", *[""] * 5]])


def front(names: list[str]) -> str:
    """Return a table of shares of the true hypervolume."""
    rows = []
    for name, entry in recorded(names[0])["results"].items():
        rows.append([name, *(_spread(entry["trained"].get(point), 3) for point in SHOWN), str(_seeds(entry))])
    return markdown(["search", *(f"{point} trainings" for point in SHOWN), "seeds"], rows)


def fidelities(names: list[str]) -> str:
    """Return a table of accuracies and seconds of plans of short and full trainings, the cheapest first."""
    entries = sorted(recorded(names[0])["results"].items(), key=lambda item: float(np.mean(item[1]["seconds"])))
    rows = [
        [name, f"{np.mean(e['seconds']):,.0f} ± {np.std(e['seconds'], ddof=1):,.0f}", _spread(e["test"])]
        for name, e in entries
    ]
    return markdown(["trainings", "GPU seconds", "test accuracy"], rows)


def ranks(names: list[str]) -> str:
    """Return a table of mean ranks on each task, a published search last."""
    record = recorded(names[0])
    (published, theirs), tasks = next(iter(record["published"].items())), record["results"]
    point = max(next(iter(tasks.values()))["guided"]["rank"], key=int)
    methods = [name for name, entry in next(iter(tasks.values())).items() if isinstance(entry, dict)]
    rows = [[name, *(f"{np.mean(found[name]['rank'][point]):.1f}" for found in tasks.values())] for name in methods]
    rows.append([f"{published}, published", *(str(theirs[task]) for task in tasks)])
    rows.append(["best of all functions", *(str(found["best of all functions"]) for found in tasks.values())])
    return markdown([f"mean rank after {point} trainings", *tasks], rows)


def digits(names: list[str]) -> str:
    """Return a table of accuracies on the digits example, and of the rank of what was found last."""
    record = recorded(names[0])
    points = list(next(iter(record["results"].values()))["valid"])
    rows = [
        [name, *(_spread(entry["valid"][point]) for point in points), f"{np.mean(entry['rank']):.1f}"]
        for name, entry in record["results"].items()
    ]
    return markdown(
        ["search", *(f"{point} trainings" for point in points), f"mean rank of the best at {points[-1]}"], rows
    )


def _spread(values: Sequence[float] | None, digits: int = 2) -> str:
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def _seeds(entry: dict[str, Any]) -> int:
    return max(len(values) for values in entry["trained"].values())
