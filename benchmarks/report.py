"""Writes recorded figures and the registry into the documents: `python benchmarks/report.py README.md docs/*.md`.

What stands between an opening comment and `<!-- end -->` is written anew:

- `<!-- results: FILE FILE ... -->`: the methods of the named records (json files of `benchmarks/results`);
- `<!-- proxies: FILE -->`: the correlations of every proxy beside the published ones;
- `<!-- extraction: FILE -->`: seconds of extraction as ratios to one forward and backward pass;
- `<!-- growth: FILE -->`: how scores of activation patterns change when networks grow;
- `<!-- registry: all -->`: what every registered proxy is.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from published import SOURCES

from parzc.features import list_proxies, proxy_info

RESULTS = Path(__file__).parent / "results"
BLOCK = re.compile(r"(<!-- (results|proxies|extraction|growth|registry): ([^>]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
COLUMNS = {
    "kendall": "Kendall tau",
    "kendall_new": "tau, unseen functions",
    "spearman": "Spearman",
    "precision_at_5pct": "top 5 % found",
    "regret_at_10": "regret at 10",
}
TARGETS = {"cifar10_test": "CIFAR-10", "cifar100_test": "CIFAR-100", "imagenet16_test": "ImageNet16"}


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")


def fill(text: str) -> str:
    """Return a document with every block written anew."""
    return BLOCK.sub(lambda match: match[1] + "\n" + WRITERS[match[2]](match[3].split()) + "\n" + match[5], text)


def _read(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return record


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def results(names: list[str]) -> str:
    """Return a markdown table of the methods of the records, best Kendall first within each kind."""
    rows = []
    for name in names:
        record = _read(name)
        for method, result in sorted(record["results"].items(), key=_order):
            cells = [_cell(result[column]) for column in COLUMNS]
            rows.append([str(record["samples"]), method, *cells])
    return _markdown(["labels", "method", *COLUMNS.values()], rows)


def _order(item: tuple[str, dict[str, Any]]) -> tuple[int, float]:
    kinds = ("ranker", "baseline", "proxy")
    return kinds.index(item[1]["kind"]), -(item[1]["kendall"]["mean"] or -2.0)


def _cell(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:.3f} ± {value['std']:.3f}" if value["std"] else f"{value['mean']:.3f}"


def proxies(names: list[str]) -> str:
    """Return a markdown table of Kendall and Spearman on the three targets, beside what papers report."""
    record, rows = _read(names[0]), []
    found = sorted(record["results"].items(), key=lambda item: -abs(item[1]["cifar10_test"]["kendall"]))
    for name, result in found:
        own = [f"{result[t]['kendall']:.3f} / {result[t]['spearman']:.3f}" for t in TARGETS]
        spread = f"{result['cifar10_test']['kendall_std']:.3f}"
        published = [" ".join(f"{v:.3f}" for v in values[name]) if name in values else "" for _, values in _sources()]
        rows.append([f"`{name}`", result["budget"], *own, spread, *published])
    head = ["proxy", "batches x inputs", *(f"{t}: tau / rho" for t in TARGETS.values()), "± tau"]
    return _markdown([*head, *(f"{source} ({what})" for (source, what), _ in _sources())], rows)


def _sources() -> list[tuple[tuple[str, str], Mapping[str, tuple[float, float, float]]]]:
    return [((source, what), values) for source, (what, values) in SOURCES.items()]


def extraction(names: list[str]) -> str:
    """Return a markdown table of ratios to one plain forward and backward pass."""
    record = _read(names[0])
    head = ["what", *(f"{name} ({arch['plain']:.3f} s)" for name, arch in record["archs"].items())]
    rows = [
        [what, *(f"{arch['ratios'][what]:.2f}" for arch in record["archs"].values())]
        for what in next(iter(record["archs"].values()))["ratios"]
    ]
    return _markdown(head, rows)


def growth(names: list[str]) -> str:
    """Return a markdown table of the taus between the size of networks and their scores."""
    found = _read(names[0])["results"]
    rows = [
        [name, f"`{proxy}`", f"{result['tau']:.2f} ± {result['std']:.2f}", " ".join(map(str, result["mean scores"]))]
        for name, proxies in found.items()
        for proxy, result in proxies.items()
    ]
    return _markdown(["sequence", "proxy", "tau with size", "mean scores"], rows)


def registry(_: list[str]) -> str:
    """Return a markdown table of all registered proxies."""
    rows = []
    for name in list_proxies():
        info = proxy_info(name)
        values = "nodes" if info.has_nodes else "blocks" if info.block_values is not None else ""
        row = [
            f"`{name}`",
            info.meaning,
            info.source,
            "bigger" if info.bigger_is_better else "smaller",
            values,
            info.inputs + (" and labels" if info.labels else ""),
            info.initialisation,
            info.batch_norm,
            ", ".join(info.passes) or "-",
            info.needs or "-",
        ]
        rows.append([cell.replace("|", "\\|") for cell in row])
    head = ["name", "what it is", "source", "better", "also at", "inputs", "weights", "batch norm", "passes", "needs"]
    return _markdown(head, rows)


WRITERS: Mapping[str, Callable[[list[str]], str]] = {
    "results": results,
    "proxies": proxies,
    "extraction": extraction,
    "growth": growth,
    "registry": registry,
}


if __name__ == "__main__":
    main()
