"""Writes recorded figures and the registry into the documents: `python benchmarks/report.py README.md */*.md`.

What stands between an opening comment and `<!-- end -->` is written anew:

- `<!-- results: FILE FILE ... -->`: the methods of the named records (json files of `benchmarks/results`);
- `<!-- methods: FILE LABELS -->`: the methods of a record at one label budget;
- `<!-- budgets: FILE ... -->`: Kendall tau of the methods at every label budget of each record;
- `<!-- ablation: FILE REFERENCE -->`: every method of a record less one of them, next to published figures;
- `<!-- paired: FILE ... -->`: the ranker against the best of the others, seed by seed;
- `<!-- spaces: FILE ... -->`: the ranker in other spaces, against the best of each other kind;
- `<!-- measured: FILE ... -->`: how the networks of these records were measured, and how long that took;
- `<!-- resolution: FILE -->`: what smaller inputs change;
- `<!-- transfer: FILE -->`: a ranker of one space in another;
- `<!-- search: FILE -->`, `<!-- labelling: FILE -->`: what a search finds, and what suggested labels are worth;
- `<!-- training_free: FILE -->`: what searches without training find;
- `<!-- searched: FILE DATASET KIND -->`, `<!-- front: FILE -->`, `<!-- fidelities: FILE -->`, `<!-- ranks: FILE -->`,
  `<!-- digits: FILE -->`: what searches find on NAS-Bench-201, with a second objective, with short trainings, on the
  tasks of TransNAS-Bench-101, and on the digits example;
- `<!-- proxies: FILE -->`: the correlations of every proxy, with the published ones;
- `<!-- settings: FILE -->`: what they owe to settings that formulas leave open;
- `<!-- extraction: FILE -->`: seconds of extraction as ratios to one forward and backward pass;
- `<!-- growth: FILE -->`: how scores of activation patterns change when networks grow;
- `<!-- registry: all -->`: what every registered proxy is;
- `<!-- map: all -->`: which script writes which record, and which page shows it.
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from _map import map_of_records
from _markdown import TARGETS, markdown, recorded
from _proxy_tables import extraction, growth, proxies, registry, settings
from _search_tables import digits, fidelities, front, ranks, searched
from _training_free_table import training_free
from published import LOSSES, PARTS, PREDICTORS, SEARCH, SPACES

from parzc.evaluation.metrics import bootstrap_interval

BLOCK = re.compile(r"(<!-- (\w+): ([^>]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
RANKER = "parzc (default)"
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
    """Return a document with every block written anew."""
    return BLOCK.sub(lambda match: match[1] + "\n" + WRITERS[match[2]](match[3].split()) + "\n" + match[5], text)


def results(names: list[str]) -> str:
    """Return a markdown table of the methods of the records, best Kendall first within each kind."""
    rows = []
    for name in names:
        record = recorded(name)
        for method, result in sorted(record["results"].items(), key=_order):
            cells = [_cell(result[column]) for column in COLUMNS]
            rows.append([str(record["samples"]), method, *cells])
    return markdown(["labels", "method", *COLUMNS.values()], rows)


def methods(names: list[str]) -> str:
    """Return a markdown table of the methods of a record at one budget, the best proxies only."""
    found = _shown(recorded(names[0])["results"][names[1]])
    rows = [[names[1], method, *(_cell(result[column]) for column in COLUMNS)] for method, result in found]
    return markdown(["labels", "method", *COLUMNS.values()], rows)


def budgets(names: list[str]) -> str:
    """Return a markdown table of Kendall taus, a column for each budget."""
    rows, columns = [], sorted({b for name in names for b in recorded(name)["results"]}, key=int)
    for name in names:
        record = recorded(name)
        found = record["results"]
        shown = dict.fromkeys(method for budget in columns for method, _ in _shown(found.get(budget, {})))
        for method in shown:
            cells = [_cell(found[b][method]["kendall"]) if method in found.get(b, {}) else "" for b in columns]
            rows.append([TARGETS.get(record["target"], record["target"]), method, *cells])
        for method, published in PREDICTORS.items() if record["target"] == "cifar10_test" else ():
            cells = [f"{published[b]:.3f}" if b in published else "" for b in columns]
            rows.append([TARGETS[record["target"]], f"{method}, published", *cells])
    return markdown(["accuracy", "method", *columns], rows)


def ablation(names: list[str]) -> str:
    """Return a markdown table of the methods of a record at its budget, each less the one called `names[1]`."""
    ((budget, found),) = recorded(names[0])["results"].items()
    reference = " ".join(names[1:])
    published = {**PARTS, **LOSSES}
    rows = []
    for method, result in sorted(found.items(), key=lambda item: -item[1]["kendall"]["mean"]):
        gap = "" if method == reference else _difference(result, found[reference])
        cells = [_cell(result["kendall"]), _cell(result["spearman"]), gap]
        rows.append([method, *cells, f"{published[method]:.3f}" if method in published else ""])
    head = ["method", f"Kendall tau, {budget} labels", "Spearman", f"tau less that of {reference}", "published"]
    width = 5 if set(published) & set(found) else 4
    return markdown(head[:width], [row[:width] for row in rows])


def paired(names: list[str]) -> str:
    """Return a markdown table of the ranker's tau less that of the best others, with bootstrap intervals."""
    budgets = [(recorded(name)["target"], *item) for name in names for item in recorded(name)["results"].items()]
    budgets = [(target, budget, found) for target, budget, found in budgets if RANKER in found]
    kinds = [kind for kind in KINDS if any(_best(found, kind) for _, _, found in budgets)]
    rows = []
    for target, budget, found in budgets:
        own, others = found[RANKER], [_best(found, kind) for kind in kinds]
        cells = [_difference(own, found[other]) + f" ({other})" if other else "" for other in others]
        rows.append([TARGETS[target], budget, _cell(own["kendall"]), *cells, _cell(own["calibration_error"])])
    return markdown(["accuracy", "labels", RANKER, *kinds, "calibration error"], rows)


def spaces(names: list[str]) -> str:
    """Return a markdown table of the ranker in other spaces, less the best of each other kind, seed by seed."""
    rows = []
    for record in map(recorded, names):
        for budget, found in record["results"].items():
            if RANKER not in found:
                continue
            own, others = found[RANKER], [_best(found, kind) for kind in KINDS]
            cells = [_difference(own, found[other]) + f" ({other})" if other else "" for other in others]
            source, tau = SPACES.get((record["space"], int(budget)), ("", 0.0))
            tested = f"{record['architectures'] - int(budget):,}"
            taus = [_cell(own["kendall"]), _cell(own["kendall_new"]), *cells, _cell(own["calibration_error"])]
            published = f"{tau:.3f} ({source})" if source else ""
            rows.append([f"`{record['space']}`", record["target"], budget, tested, *taus, published])
    kinds = ["less best tabular learner", "less best on the architecture encoding only", "less best proxy"]
    head = ["space", "accuracy", "labels", "tested on", RANKER, "tau, unseen functions", *kinds, "calibration error"]
    return markdown([*head, "published"], rows)


def measured(names: list[str]) -> str:
    """Return a markdown table of the inputs on which the networks of each space were measured, and of the seconds."""
    rows: dict[str, list[str]] = {}
    for record in map(recorded, names):
        inputs, seconds = record["features"], record["seconds for one architecture"]
        counts = [f"{record['architectures']:,}", f"{record['functions']:,}"]
        where = [f"`{record['space']}`", f"`{inputs['task']}`", str(inputs["batch"])]
        rows[record["space"]] = [*where, *counts, f"{seconds:.1f}"]
    head = ["space", "networks and inputs of", "inputs", "architectures", "functions measured", "seconds each"]
    return markdown(head, list(rows.values()))


def resolution(names: list[str]) -> str:
    """Return a markdown table of what measuring on smaller inputs changes, for each space."""
    rows = []
    for space, record in recorded(names[0]).items():
        found = record["proxies"]
        tasks = " and ".join(f"`{inputs['task']}`" for inputs in record["inputs"])
        lowest, proxy = min((one["between"], name) for name, one in found.items())
        agreement = [f"{np.median([one['between'] for one in found.values()]):.3f}", f"{lowest:.3f} ({proxy})"]
        taus = [f"{np.mean([one[which] for one in found.values()]):.3f}" for which in ("small", "large")]
        better = [sum(one["gain"][1] < 0 for one in found.values()), sum(one["gain"][0] > 0 for one in found.values())]
        counts = [f"{count} of {len(found)}" for count in better]
        rows.append([f"`{space}`", tasks, str(record["functions"]), *agreement, *taus, *counts])
    head = ["space", "inputs", "functions", "agreement, median", "lowest", "mean tau, small", "large"]
    return markdown([*head, "proxies better on large", "on small"], rows)


def transfer(names: list[str]) -> str:
    """Return a markdown table of Kendall taus of a ranker of one space in another."""
    record = recorded(names[0])
    few = record["to"].split(", ")[1]
    rows = []
    for target, found in record["results"].items():
        proxies = [(value["mean"], name) for name, value in found.items() if name.startswith("best proxy")]
        tau, proxy = max(proxies)
        cells = [f"{found[way]['mean']:.3f}" for way in ("transferred, no labels", f"{few} alone", "mean of both")]
        low, high = found["mean of both"]["less the labels alone"]
        rows.append([target, *cells, f"[{low:+.3f}, {high:+.3f}]", f"{tau:.3f} {proxy.removeprefix('best proxy ')}"])
    head = ["task", "transferred, no labels", f"{few} alone", "mean of both", "gain, 95 % interval", "best proxy"]
    return markdown(head, rows)


KINDS: Mapping[str, Callable[[str, str], bool]] = {
    "less best tabular learner": lambda name, kind: kind == "baseline" and not _bare(name),
    "less best on operations only": lambda name, kind: kind == "baseline" and _bare(name),
    "less best proxy": lambda _, kind: kind == "proxy",
}


def _bare(method: str) -> bool:
    """Whether a method sees nothing that was measured."""
    return method.endswith(" only")


def _best(found: Mapping[str, Any], what: str) -> str | None:
    chosen = [name for name, result in found.items() if KINDS[what](name, result["kind"])]
    return max(chosen, key=lambda name: found[name]["kendall"]["mean"] or -2.0, default=None)


def _difference(own: dict[str, Any], other: dict[str, Any]) -> str:
    gaps = np.subtract(own["kendall"]["values"], other["kendall"]["values"])
    low, high = bootstrap_interval(gaps)
    return f"{gaps.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def _shown(found: Mapping[str, Any], proxies: int = 5) -> list[tuple[str, Any]]:
    """Return methods in order, of the proxies AZ-NAS and the best few."""
    ordered = sorted(found.items(), key=_order)
    best = [name for name, result in ordered if result["kind"] == "proxy"][:proxies]
    return [(n, result) for n, result in ordered if result["kind"] != "proxy" or n in (*best, "az_nas")]


def search(names: list[str]) -> str:
    """Return a markdown table of the test accuracies that a search finds, published ones behind them."""
    found = recorded(names[0])["search"]
    rows = []
    for what in (name for name, values in next(iter(found.values())).items() if isinstance(values, list)):
        cells = [f"{np.mean(one[what]):.2f} ± {np.std(one[what], ddof=1):.2f}" for one in found.values()]
        rows.append([f"parzc, {what}", *cells])
    for proxy in ("az_nas", "meco_opt"):
        rows.append([f"{proxy}, best of the 10 best-scored", *(f"{one[proxy]:.2f}" for one in found.values())])
    rows += [[f"{method}, published", *cells] for method, cells in SEARCH.items()]
    rows.append(["optimum", *(f"{one['optimum']:.2f}" for one in found.values())])
    return markdown(["search", *found], rows)


def labelling(names: list[str]) -> str:
    """Return a markdown table of Kendall taus with suggested and with random labels."""
    rows = []
    for name, found in recorded(names[0])["labelling"].items():
        cells = [f"{np.mean(found[c]):.3f} ± {np.std(found[c], ddof=1):.3f}" for c in ("suggested", "random")]
        low, high = found["interval"]
        rows.append([name, *cells, f"{found['mean gain']:+.3f} [{low:+.3f}, {high:+.3f}]"])
    return markdown(["accuracy", "58 of 78 labels suggested", "all 78 random", "gain, 95 % interval"], rows)


def _order(item: tuple[str, dict[str, Any]]) -> tuple[int, float]:
    kinds = ("ranker", "baseline", "proxy")
    return kinds.index(item[1]["kind"]), -(item[1]["kendall"]["mean"] or -2.0)


def _cell(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:.3f} ± {value['std']:.3f}" if value["std"] else f"{value['mean']:.3f}"


WRITERS: Mapping[str, Callable[[list[str]], str]] = {
    "results": results,
    "methods": methods,
    "budgets": budgets,
    "ablation": ablation,
    "paired": paired,
    "spaces": spaces,
    "measured": measured,
    "resolution": resolution,
    "transfer": transfer,
    "search": search,
    "labelling": labelling,
    "training_free": training_free,
    "searched": searched,
    "front": front,
    "fidelities": fidelities,
    "ranks": ranks,
    "digits": digits,
    "proxies": proxies,
    "settings": settings,
    "extraction": extraction,
    "growth": growth,
    "registry": registry,
    "map": map_of_records,
}


if __name__ == "__main__":
    main()
