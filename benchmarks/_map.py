"""Which script writes which record, which page shows it, what its fits took: the table of `benchmarks/README.md`."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from _markdown import markdown, recorded
from _records import RESULTS

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"<!-- (\w+): ([^>]*?) -->")
SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "nb201.py": ("nb201-cifar10_test", "nb201-cifar100_test", "nb201-imagenet16_test"),
    "spaces.py": ("nb101-*", "darts-*", "autoformer-*", "transnas-*"),
    "transfer.py": ("transfer",),
    "search.py": ("nb201-search",),
    "search_nb201.py": ("search-nb201",),
    "search_front.py": ("search-front",),
    "search_fidelities.py": ("search-fidelities",),
    "search_training_free.py": ("search-training-free",),
    "search_transnas.py": ("search-transnas-*",),
    "search_digits.py": ("search-digits",),
    "components.py": ("nb201-components", "nb201-losses", "nb201-default"),
    "proxies.py": ("nb201-proxies", "nb201-proxies-whole"),
    "settings.py": ("nb201-settings",),
    "ncd.py": ("ncd",),
    "resolution.py": ("resolution",),
    "extraction.py": ("extraction",),
    "engines.py": ("engines",),
    "store.py": ("store",),
    "figures.py": ("nb201-ceiling", "nb201-reliability"),
    "train.py, an earlier version": ("nb201-cifar10_test-paper-*",),
}
"""The records of each script, as patterns of names in `benchmarks/results`."""


def map_of_records(_: list[str]) -> str:
    """Return a Markdown table of scripts, their records, the pages that show them, and hours of fits."""
    found = []
    for script, patterns in SCRIPTS.items():
        names = [name for pattern in patterns for name in records() if fnmatch(name, pattern)]
        shown = ", ".join(f"`{pattern}.json`" for pattern in patterns)
        hours = sum(seconds for name in names for seconds in fits(recorded(name))) / 3600
        about = f"{hours:.1f} h" if hours else "not recorded"
        drawn = re.compile(r"figures/\w+\.png") if script == "figures.py" else None
        found.append([script, shown, " ".join(pages(names, drawn)) or "none", about])
    return markdown(["script", "records in `results/`", "pages that show them", "fits, hours of one core"], found)


def records() -> list[str]:
    """Return the names of all records."""
    return sorted(path.stem for path in RESULTS.glob("*.json"))


def scripts_of(name: str) -> list[str]:
    """Return the scripts that write a record."""
    return [script for script, patterns in SCRIPTS.items() if any(fnmatch(name, pattern) for pattern in patterns)]


def pages(names: list[str], drawn: re.Pattern[str] | None) -> list[str]:
    """Return links to the pages that show or name one of these records, or hold what is `drawn` from them."""
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        shown = {word for _, words in BLOCK.findall(text) for word in words.split()} & set(names)
        if shown or any(f"{name}.json" in text for name in names) or (drawn and drawn.search(text)):
            found.append(f"[{path.name}](../{path.relative_to(ROOT)})")
    return found


def fits(record: Any) -> Iterator[float]:
    """Yield the seconds of every fit in a record, each of which had one core."""
    if isinstance(record, dict):
        for key, value in record.items():
            if key == "seconds" and isinstance(value, list):
                yield from value
            else:
                yield from fits(value)
