"""Writes the recorded figures into the documents: `python benchmarks/report.py README.md docs/results.md`.

A document quotes records between `<!-- results: FILE FILE ... -->` and `<!-- end -->`; what stands between is replaced
by a table of the named records (json files of `benchmarks/results`, without `.json`).
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
BLOCK = re.compile(r"(<!-- results: ([^>]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
COLUMNS = {
    "kendall": "Kendall tau",
    "kendall_new": "tau, unseen functions",
    "spearman": "Spearman",
    "precision_at_5pct": "top 5 % found",
    "regret_at_10": "regret at 10",
}


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")


def fill(text: str) -> str:
    """Return a document with every block of results written anew."""
    return BLOCK.sub(lambda match: match[1] + "\n" + table(match[2].split()) + "\n" + match[4], text)


def table(names: list[str]) -> str:
    """Return a markdown table of the methods of the records, best Kendall first within each kind."""
    lines = ["| labels | method | " + " | ".join(COLUMNS.values()) + " |", "|" + "---|" * (2 + len(COLUMNS))]
    for name in names:
        record = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for method, result in sorted(record["results"].items(), key=_order):
            cells = [_cell(result[column]) for column in COLUMNS]
            lines.append(f"| {record['samples']} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _order(item: tuple[str, dict[str, Any]]) -> tuple[int, float]:
    kinds = ("ranker", "baseline", "proxy")
    return kinds.index(item[1]["kind"]), -(item[1]["kendall"]["mean"] or -2.0)


def _cell(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:.3f} ± {value['std']:.3f}" if value["std"] else f"{value['mean']:.3f}"


if __name__ == "__main__":
    main()
