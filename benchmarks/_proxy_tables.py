"""Tables about proxies, for `report.py`: correlations, settings, seconds, definitions."""

from collections.abc import Mapping

from _markdown import TARGETS, markdown, recorded
from published import SOURCES

from parzc.features import list_proxies, proxy_info


def proxies(names: list[str]) -> str:
    """Return a markdown table of Kendall and Spearman on the three targets, and what papers report."""
    record, rows = recorded(names[0]), []
    others = record.get("other draws", {})
    found = sorted(record["results"].items(), key=lambda item: -abs(item[1]["cifar10_test"]["kendall"]))
    for name, result in found:
        own = [f"{result[t]['kendall']:.3f} / {result[t]['spearman']:.3f}" for t in TARGETS]
        spread = f"{result['cifar10_test']['kendall_std']:.3f}"
        published = [" ".join(f"{v:.3f}" for v in values[name]) if name in values else "" for _, values in _sources()]
        draws = [" ".join(f"{draw['cifar10_test']:.3f}" for draw in others.get(name, {}).values())] if others else []
        rows.append([f"`{name}`", result["budget"], *own, spread, *draws, *published])
    head = ["proxy", "batches x inputs", *(f"{t}: tau / rho" for t in TARGETS.values()), "± tau"]
    head += ["CIFAR-10, other draws"] if others else []
    return markdown([*head, *(f"{source} ({what})" for (source, what), _ in _sources())], rows)


def _sources() -> list[tuple[tuple[str, str], Mapping[str, tuple[float, float, float]]]]:
    return [((source, what), values) for source, (what, values) in SOURCES.items()]


def settings(names: list[str]) -> str:
    """Return a markdown table of Kendall's tau of proxies under other settings."""
    rows = [
        [f"`{group}`", name, f"{found['kendall']:.3f} ± {found['kendall_std']:.3f}"]
        for group, settings in recorded(names[0])["groups"].items()
        for name, found in settings.items()
    ]
    return markdown(["measured as", "setting", "tau, CIFAR-10"], rows)


def extraction(names: list[str]) -> str:
    """Return a markdown table of ratios to one plain forward and backward pass."""
    record = recorded(names[0])
    head = ["what", *(f"{name} ({arch['plain']:.3f} s)" for name, arch in record["archs"].items())]
    rows = [
        [what, *(f"{arch['ratios'][what]:.2f}" for arch in record["archs"].values())]
        for what in next(iter(record["archs"].values()))["ratios"]
    ]
    return markdown(head, rows)


def growth(names: list[str]) -> str:
    """Return a markdown table of the taus between the size of networks and their scores."""
    found = recorded(names[0])["results"]
    rows = [
        [name, f"`{proxy}`", f"{result['tau']:.2f} ± {result['std']:.2f}", " ".join(map(str, result["mean scores"]))]
        for name, proxies in found.items()
        for proxy, result in proxies.items()
    ]
    return markdown(["sequence", "proxy", "tau with size", "mean scores"], rows)


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
    return markdown(head, rows)
