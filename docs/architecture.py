"""Draws the rooms of the package and what they import from each other, read from the code.

    python docs/architecture.py

The order of the rooms is the contract in pyproject.toml, their words are the docstrings of the packages, and the arrows
are the import statements. The picture goes to `docs/figures/architecture.svg`; a test checks that it is up to date.
"""

import ast
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "figures" / "architecture.svg"
BASE = ("files", "errors")
"""Rooms that every room may import; arrows to them are not drawn."""

PUBLIC_NAMES = ("metrics", "uncertainty")
"""Modules that only give public names to what a room holds; they are not drawn."""

WIDTH, MARGIN, ROW, HEIGHT, GAP = 1000, 150, 118, 78, 24
Boxes = Mapping[str, tuple[float, float, float]]


def layers() -> list[list[str]]:
    """Return the rooms that exist, from the top down, as the import contract orders them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    rows = [line.replace("|", " ").replace(":", " ").replace("(", " ").replace(")", " ") for line in contract["layers"]]
    found = [[room for room in row.split() if source(room) and room not in PUBLIC_NAMES] for row in rows]
    return [row for row in found if row]


def source(room: str) -> Path | None:
    """Return the file whose docstring says what a room is for."""
    paths = (ROOT / "parzc" / room / "__init__.py", ROOT / "parzc" / f"{room}.py")
    return next((path for path in paths if path.is_file()), None)


def meaning(room: str) -> str:
    """Return the first sentence of a room's docstring, or its first half if there is a semicolon."""
    path = source(room)
    assert path is not None
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"[.;](?: |$)", " ".join(text.replace("`", "").split()))[0]


def arrows() -> list[tuple[str, str]]:
    """Return which room imports from which, sorted."""
    found = set()
    for path in sorted((ROOT / "parzc").rglob("*.py")):
        room = path.relative_to(ROOT / "parzc").parts[0].removesuffix(".py")
        found |= {(room, other) for other in imported(path) if other != room and room != "__init__"}
    return sorted(found)


def imported(path: Path) -> Iterator[str]:
    """Yield the rooms that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "parzc":
            names = [f"parzc.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("parzc."))


def boxes() -> Boxes:
    """Return the left edge, the top edge and the width of each room's box."""
    placed = {}
    for row, rooms in enumerate(layers()):
        width = (WIDTH - 2 * MARGIN - GAP * (len(rooms) - 1)) / max(len(rooms), 1)
        for column, room in enumerate(rooms):
            placed[room] = (MARGIN + column * (width + GAP), 20 + row * ROW, width)
    return placed


def svg() -> str:
    """Return the picture."""
    placed = boxes()
    height = 20 + len(layers()) * ROW
    drawn = [pair for pair in arrows() if set(pair) <= placed.keys() and pair[1] not in BASE]
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="12" '
        f'viewBox="0 0 {WIDTH} {height}">',
        "<title>Rooms of parzc and what they import</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">',
        '<path d="M0 0 L8 4 L0 8 z" fill="#3949ab"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *(arrow(placed, *pair) for pair in drawn),
        *(box(room, *place) for room, place in placed.items()),
        f'<text x="{WIDTH / 2:g}" y="{height - 6}" text-anchor="middle" fill="#555555">'
        f"Each arrow is an import. Every room may import {' and '.join(BASE)}; those arrows are left out.</text>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def box(room: str, left: float, top: float, width: float) -> str:
    """Return a room: its name, and its meaning on up to two lines."""
    words = textwrap.wrap(meaning(room), int(width / 6.2), max_lines=2, placeholder=" ...")
    middle = left + width / 2
    lines = [
        f'<rect x="{left:g}" y="{top}" width="{width:g}" height="{HEIGHT}" rx="8" fill="#eef1fb" stroke="#3949ab"/>',
        f'<text x="{middle:g}" y="{top + 24}" text-anchor="middle" font-weight="bold" font-size="15">{room}</text>',
    ]
    lines += [
        f'<text x="{middle:g}" y="{top + 45 + 18 * i}" text-anchor="middle" fill="#333333">{escape(line)}</text>'
        for i, line in enumerate(words)
    ]
    return "\n".join(lines)


def arrow(placed: Boxes, start: str, end: str) -> str:
    """Return an arrow: straight between neighbours, around or behind the boxes of a row that it passes."""
    (x1, y1, w1), (x2, y2, w2) = placed[start], placed[end]
    rows, apart = round((y2 - y1) / ROW), x1 + w1 <= x2 or x2 + w2 <= x1
    if rows == 0:
        right = x2 > x1
        ends = (x1 + w1 * right, x2 + w2 * (not right))
        path = f"M{ends[0]:g} {y1 + HEIGHT / 2:g} L{ends[1]:g} {y2 + HEIGHT / 2:g}"
    elif rows == 1 and not apart:
        x = max(x1, x2) + min(w1, w2) / 2
        path = f"M{x:g} {y1 + HEIGHT:g} L{x:g} {y2:g}"
    elif apart:
        path = f"M{x1 + w1 * (0.85 if x2 > x1 else 0.15):g} {y1 + HEIGHT:g} "
        path += f"L{x2 + w2 * (0.15 if x2 > x1 else 0.85):g} {y2:g}"
    else:
        path = around(placed[start], placed[end], rows)
    return f'<path d="{path}" fill="none" stroke="#3949ab" stroke-width="1.3" marker-end="url(#tip)"/>'


def around(start: tuple[float, float, float], end: tuple[float, float, float], rows: int) -> str:
    """Return a path on the side of the narrower box, further out the more rows it passes."""
    left, _, width = min(start, end, key=lambda place: place[2])
    right = rows % 2 == 1 if width == WIDTH - 2 * MARGIN else left + width / 2 > WIDTH / 2
    bulge, shift = (1 if right else -1) * (20 + 22 * rows), 3 * rows
    (x1, y1), (x2, y2) = ((x + w * right, y + HEIGHT / 2) for x, y, w in (start, end))
    y1, y2 = y1 + shift, y2 - shift
    return f"M{x1:g} {y1:g} C{x1 + bulge:g} {y1:g} {x2 + bulge:g} {y2:g} {x2:g} {y2:g}"


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))
