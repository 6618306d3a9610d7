"""The picture of node importances: which bars there are, and names that never overprint, whatever the space."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from parzc.datasets import Slot, get_space
from parzc.evaluation.importance import Importance
from parzc.evaluation.importance_figure import MOST_BARS, WIDTH, bars_of, labels_of, placed, text_width

CELLS = (
    Slot("stem", "stem", 0, 0, False),
    Slot("cell0.a", "0-1", 0, 1),
    Slot("cell0.b", "1-2", 0, 1),
    Slot("cell0.b.second", "1-2", 0, 1),
    Slot("down", "reduction_a", 1, 2, False),
    Slot("cell1.a", "0-1", 1, 3),
    Slot("cell1.b", "1-2", 1, 3),
    Slot("head", "classifier", 1, 4, False),
)
OWN = (*(Slot(f"{i}.0", f"layer {i}", i // 5, i) for i in range(11)), Slot("head", "classifier", 2, 11, False))
LONG = tuple(Slot(f"blocks.{i}", f"attention of transformer block number {i}", i // 40, i) for i in range(120))
SPACES = ("nb201", "transnas-micro", "nb101", "nats-sss", "autoformer-tiny", "darts")


def importance(slots, statistics=("snip", "fisher"), seed=0):
    """Importances drawn at random, of three seeds; each row sums to 1."""
    rng = np.random.default_rng(seed)
    values = {name: rng.dirichlet(np.ones(len(slots)), size=3) for name in statistics}
    taus = {name: rng.uniform(size=3) for name in statistics}
    return Importance(slots, (0, 1, 2), values, taus, taus, 20)


def test_a_bar_is_an_edge_of_a_cell_or_a_fixed_part():
    bars = bars_of(CELLS)
    assert [(bar.edge, bar.depth, bar.searchable, bar.slots) for bar in bars] == [
        ("stem", 0, False, (0,)),
        ("0-1", 1, True, (1,)),
        ("1-2", 1, True, (2, 3)),
        ("reduction_a", 2, False, (4,)),
        ("0-1", 3, True, (5,)),
        ("1-2", 3, True, (6,)),
        ("classifier", 4, False, (7,)),
    ]


def test_too_many_cells_are_added_up_over_a_stage():
    slots = tuple(Slot(f"{d}.{e}", f"edge {e}", d // 25, d) for d in range(50) for e in range(4))
    bars = bars_of(slots)
    assert len(slots) > MOST_BARS and [(bar.stage, bar.edge) for bar in bars] == [
        (stage, f"edge {e}") for stage in range(2) for e in range(4)
    ]
    assert all(len(bar.slots) == 25 for bar in bars)
    assert sorted(i for bar in bars for i in bar.slots) == list(range(200))


def test_recurring_edges_are_named_by_cell_and_others_by_themselves():
    labels = labels_of(bars_of(CELLS))
    assert [(label.middle, label.text) for label in labels] == [
        (0, "stem"), (1.5, "cell 1"), (3, "reduction_a"), (4.5, "cell 3"), (6, "classifier"),
    ]  # fmt: skip
    own = labels_of(bars_of(OWN))
    assert [label.text for label in own] == [*(f"layer {i}" for i in range(11)), "classifier"]
    assert labels_of(bars_of(LONG))[0].text == "attention …ck number 0"


def test_the_width_of_a_text_is_that_of_matplotlib():
    figure = Figure(figsize=(11, 2), dpi=72)
    for text in ("classifier", "cell 12", "attention …ck number 0"):
        drawn = figure.text(0, 0, text, fontsize=8).get_window_extent(FigureCanvasAgg(figure).get_renderer()).width
        assert text_width(text, 8) == pytest.approx(drawn, rel=0.08)


def test_of_names_that_would_touch_some_are_left_out():
    few, upright = placed(labels_of(bars_of(OWN)), 12)
    assert len(few) == 12 and not upright
    labels = labels_of(bars_of(LONG))
    kept, upright = placed(labels, 120)
    assert upright and kept[0] == labels[0]
    gaps = np.diff([label.middle for label in kept]) * WIDTH / 120
    assert 50 < len(kept) < 120 and gaps.min() >= 10


def overlapping(figure):
    """Return pairs of texts of a drawn figure that overlap."""
    FigureCanvasAgg(figure).draw()
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for axis in figure.axes for text in (*axis.get_xticklabels(), *axis.texts, axis.xaxis.label)]
    texts += [*figure.legends[0].get_texts(), figure._suptitle, figure._supylabel]
    texts += [title for axis in figure.axes for title in (axis.title, axis._left_title, axis._right_title)]
    shown = [text for text in texts if text.get_text().strip() and text.get_visible()]
    # The lower panels share the names of the last one, which alone shows them.
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
    boxes = [(name, box) for name, box in boxes if box.width > 0 and box.height > 0]
    return [(a, b) for i, (a, one) in enumerate(boxes) for b, other in boxes[i + 1 :] if one.overlaps(other)], boxes


@pytest.mark.parametrize(
    "slots",
    [
        CELLS,
        OWN,
        LONG,
        *(get_space(name).slots for name in SPACES),
        tuple(Slot(f"n{i}", f"choice {i % 60}", 0, 0) for i in range(130)),
        tuple(Slot(f"n{i}", f"part {i}", 0, 0, False) for i in range(30)),
    ],
    ids=["cells", "own", "long", *SPACES, "flat", "fixed"],
)
def test_no_text_overprints_another(slots):
    figure = importance(slots).figure()
    pairs, boxes = overlapping(figure)
    assert pairs == []
    width, height = figure.get_size_inches() * figure.dpi
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for _, box in boxes)


def test_a_panel_shows_means_and_percentiles_of_the_sums():
    result = importance(CELLS)
    figure = result.figure()
    strip, snip, fisher = figure.axes
    assert [text.get_text() for text in strip.texts] == ["stage 0", "stage 1"]
    assert snip.get_title("left").startswith("snip   (test Kendall ") and fisher.get_title("left").startswith("fisher ")
    tau = f"{result.kendall['snip'].mean():.2f} ± {result.kendall['snip'].std(ddof=1):.2f}"
    assert tau in snip.get_title("left")
    values = result.importances["snip"]
    sums = np.stack([values[:, 0], values[:, 1], values[:, 2] + values[:, 3], *values[:, 4:].T], axis=1)
    assert [bar.get_height() for bar in snip.patches[:7]] == pytest.approx(list(sums.mean(0)))
    low, high = np.quantile(sums, [0.05, 0.95], axis=0)
    whiskers = np.array(snip.collections[0].get_segments())
    np.testing.assert_allclose(whiskers[:, :, 1], np.stack([low, high], axis=1))
    searchable = sums.mean(0)[[1, 2, 4, 5]].sum()
    assert snip.get_title("right") == f"all searchable edges together {searchable:.1%}"


def test_colours_tell_recurring_edges_apart_and_fixed_parts():
    figure = importance(CELLS).figure()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["edge 0-1", "edge 1-2", "fixed part"]
    colours = [bar.get_facecolor() for bar in figure.axes[1].patches[:7]]
    assert colours[1] == colours[4] and colours[2] == colours[5] and colours[0] == colours[3] == colours[6]
    assert len(set(colours)) == 3
    own = importance(OWN).figure()
    assert [text.get_text() for text in own.legends[0].get_texts()] == ["searchable edge", "fixed part"]
    assert len({bar.get_facecolor() for bar in own.axes[1].patches[:11]}) == 1


def test_many_recurring_edges_have_different_colours():
    slots = tuple(Slot(f"{cell}.{i}", f"0-{i}", 0, cell) for cell in range(2) for i in range(1, 10))
    axis = importance(slots).figure().axes[1]
    assert len({bar.get_facecolor() for bar in axis.patches[:18]}) == 9


def test_names_that_are_left_out_are_counted():
    axis = importance(LONG).figure().axes[-1]
    kept = len(axis.get_xticklabels())
    assert f"({kept} of 120 named; all are in the CSV file)" in axis.get_xlabel()
    assert "named" not in importance(OWN).figure().axes[-1].get_xlabel()
