"""The picture of node importances: bars along the network for each statistic, readable for spaces of any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from parzc.datasets import Slot

if TYPE_CHECKING:
    from parzc.evaluation.importance import Importance

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7")
"""Okabe and Ito's, which colour-blind readers can distinguish, for the searchable edges."""
FIXED = "#6b6b6b"
MOST_BARS = 150
"""With more bars, those of one edge in one stage are added up, so that each stays wide enough to be seen."""
MOST_COLOURS = 16
"""With more searchable edges, all have one colour: nobody can find one of so many in a legend."""
WIDTH = 690.0
"""Points that the axes are wide, at least."""
FONT = 8.0
"""Points of the names below the axes."""
MOST_LETTERS = 22
"""Letters of a name that are shown."""


@dataclass(frozen=True)
class Bar:
    """Slots whose importances are added up.

    Args:
        edge: their edge.
        stage: of the first of them.
        depth: of the first of them.
        searchable: whether decisions of the space change what stands there.
        slots: their indices.
    """

    edge: str
    stage: int
    depth: int
    searchable: bool
    slots: tuple[int, ...]


@dataclass(frozen=True)
class Label:
    """A name below the axes: its middle, counted in bars, and the text."""

    middle: float
    text: str


def bars_of(slots: Sequence[Slot]) -> list[Bar]:
    """Return one bar for each edge of each cell, or of each stage if there were too many, along the network."""
    by_cell = _grouped(slots, [(slot.depth, slot.edge) for slot in slots])
    return by_cell if len(by_cell) <= MOST_BARS else _grouped(slots, [(slot.stage, slot.edge) for slot in slots])


def _grouped(slots: Sequence[Slot], keys: Sequence[tuple[int, str]]) -> list[Bar]:
    groups: dict[tuple[int, str], list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return [
        Bar(slots[own[0]].edge, slots[own[0]].stage, slots[own[0]].depth, slots[own[0]].searchable, tuple(own))
        for own in groups.values()
    ]


def labels_of(bars: Sequence[Bar]) -> list[Label]:
    """Return the names to write below the axes: of each bar if edges do not recur or are too many, else of the cells.

    A fixed part has its own name in both cases.
    """
    searchable = [bar.edge for bar in bars if bar.searchable]
    if len(set(searchable)) == len(searchable) or len(set(searchable)) > MOST_COLOURS:
        return [Label(i, _short(bar.edge)) for i, bar in enumerate(bars)]
    runs = _runs([f"cell {bar.depth}" if bar.searchable else bar.edge for bar in bars])
    return [Label((first + last) / 2, _short(name)) for name, (first, last) in runs]


def placed(labels: Sequence[Label], count: int) -> tuple[list[Label], bool]:
    """Return the labels that fit below `count` bars without touching each other, and whether they stand upright.

    Written along the axis if all fit so, else upright; of those that are too close even then, the first is kept.
    """
    at = [label.middle * WIDTH / count for label in labels]
    widths = [text_width(label.text, FONT) for label in labels]
    if all(at[i + 1] - at[i] > (widths[i] + widths[i + 1]) / 2 + FONT / 2 for i in range(len(at) - 1)):
        return list(labels), False
    kept: list[int] = []
    for i, place in enumerate(at):
        if not kept or place - at[kept[-1]] >= 1.25 * FONT:
            kept.append(i)
    return [labels[i] for i in kept], True


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Return the width of a text in points."""
    return float(TextPath((0, 0), text, size=size).get_extents().width)


def _short(name: str) -> str:
    # Long names differ more often at their ends than in their middle.
    return name if len(name) <= MOST_LETTERS else f"{name[:10]}…{name[10 - MOST_LETTERS + 1 :]}"


def draw(result: "Importance") -> Figure:
    """Draw a strip that names the stages, and a panel of bars along the network for each statistic."""
    bars, panels = bars_of(result.slots), len(result.importances)
    colours, handles = _colours(bars)
    figure = Figure(figsize=(11, 2.6 + 1.15 * panels), dpi=150, layout="constrained")
    ratios = [0.16, *[1.0] * panels]
    strip, *axes = figure.subplots(panels + 1, 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    _draw_stages(strip, bars)
    for axis, name in zip(axes, result.importances, strict=True):
        _draw_panel(axis, result, name, bars, colours)
    left_out = _draw_labels(axes[-1], bars)
    axes[-1].set_xlabel(f"edges and fixed parts, from the input to the output{left_out}")
    figure.supylabel("part of the impurity decrease", fontsize=10)
    note = f"seeds: {len(result.seeds)}; bars: mean; whiskers: middle {result.level:.0%}; ±: standard deviation"
    figure.suptitle(f"Node importance, {result.networks:,} labelled networks\n{note}", fontsize=11)
    widest = max((text_width(handle.get_label(), 9) for handle in handles), default=0.0)
    columns = max(1, int(WIDTH // (widest + 45)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    return figure


def _colours(bars: Sequence[Bar]) -> tuple[list[Any], list[Patch]]:
    """Return the colour of each bar, and the entries of the legend."""
    edges = sorted({bar.edge for bar in bars if bar.searchable})
    recur = len(edges) < sum(bar.searchable for bar in bars)
    if recur and len(edges) <= MOST_COLOURS:
        shades = COLOURS if len(edges) <= len(COLOURS) else colormaps["viridis"](np.linspace(0, 0.95, len(edges)))
        of_edge = dict(zip(edges, shades, strict=False))
        handles = [Patch(color=colour, label=_short(f"edge {edge}")) for edge, colour in of_edge.items()]
    else:
        of_edge = dict.fromkeys(edges, COLOURS[0])
        handles = [Patch(color=COLOURS[0], label="searchable edge")] if edges else []
    if not all(bar.searchable for bar in bars):
        handles.append(Patch(color=FIXED, label="fixed part"))
    return [of_edge[bar.edge] if bar.searchable else FIXED for bar in bars], handles


def _draw_panel(axis: Axes, result: "Importance", name: str, bars: Sequence[Bar], colours: Sequence[Any]) -> None:
    of_slots = result.importances[name]
    values: NDArray[np.float64] = np.stack([of_slots[:, list(bar.slots)].sum(1) for bar in bars], axis=1)
    low, high = np.quantile(values, [(1 - result.level) / 2, (1 + result.level) / 2], axis=0)
    x, means = np.arange(len(bars)), values.mean(axis=0)
    axis.bar(x, means, width=0.85, color=colours, zorder=2)
    axis.vlines(x, low, high, color="black", linewidth=0.8, zorder=3)
    tau, spread = result.test_kendall(name)
    axis.set_title(f"{name}   (test Kendall {tau:.2f} ± {spread:.2f})", fontsize=10, loc="left")
    searchable = means[[bar.searchable for bar in bars]].sum()
    axis.set_title(f"all searchable edges together {searchable:.1%}", fontsize=9, loc="right")
    axis.set_ylim(bottom=0)
    axis.set_xlim(-0.5, len(bars) - 0.5)
    axis.tick_params(axis="x", length=0)
    cells = _runs([(bar.stage, bar.depth, bar.searchable) for bar in bars])
    for _, (_, last) in cells[:-1] if len(cells) < len(bars) else ():
        axis.axvline(last + 0.5, color="#c8c8c8", linewidth=0.6, zorder=1)
    for _, (first, last) in _runs([bar.stage for bar in bars])[1::2]:
        axis.axvspan(first - 0.5, last + 0.5, color="#ececec", zorder=0)


def _draw_stages(axis: Axes, bars: Sequence[Bar]) -> None:
    """Name the stages, as far as a name has room, in a strip whose shades are those of the panels."""
    for number, (stage, (first, last)) in enumerate(_runs([bar.stage for bar in bars])):
        axis.axvspan(first - 0.5, last + 0.5, color="#ececec" if number % 2 else "white", zorder=0)
        room = (last - first + 1) * WIDTH / len(bars)
        for text in (f"stage {stage}", str(stage)):
            if text_width(text, FONT) + 4 < room:
                axis.text((first + last) / 2, 0.5, text, fontsize=FONT, ha="center", va="center")
                break
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    axis.tick_params(axis="x", length=0)


def _draw_labels(axis: Axes, bars: Sequence[Bar]) -> str:
    """Write the names below the lowest panel; return words that count them if some are left out."""
    labels = labels_of(bars)
    kept, upright = placed(labels, len(bars))
    axis.set_xticks(
        [label.middle for label in kept],
        [label.text for label in kept],
        rotation=90 if upright else 0,
        fontsize=FONT,
    )
    return "" if len(kept) == len(labels) else f" ({len(kept)} of {len(labels)} named; all are in the CSV file)"


def _runs(keys: Sequence[Any]) -> list[tuple[Any, tuple[int, int]]]:
    """Return each run of equal keys with the index of its first and last."""
    runs = ((key, [i for i, _ in run]) for key, run in groupby(enumerate(keys), key=lambda item: item[1]))
    return [(key, (run[0], run[-1])) for key, run in runs]
