"""Habits of the code: short files, short functions, docstrings, and the words of docs/architecture.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "parzc").rglob("*.py"))
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINES_OF_FILES, LINES_OF_FUNCTIONS = 350, 40

OLD_WORDS = re.compile(
    "|".join(
        (
            r"\b(?:told|tells|telling|beside|believ\w+|nothing but|orders better|the usual layout)\b",
            r"(?<![.`])\btell\b(?!\()",
            r"\b(?:labels|figures|columns) say\b|\bsay of\b",
            r"\bshares_|\bshares? of (?:the )?members|\blabel_scale\b|\bexpected_best\b",
            r"\bdescribed=|\.described\b|\b(?:UN)?DESCRIBED\b|\bDescription(?:Process|Forest)\b",
            r"\bdescri(?:be|ption)s? (?:of (?:an? |the )?|the )?architectures?\b",
            r"\bdescription[_ ](?:process|forest|only|alone|and states)|\b[Oo]n the description\b",
        )
    )
)
"""Words that have a better one in docs/architecture.md; the only `tell` is the method of a search that is asked."""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, without its docstring: one that explains many arguments is long where the code is short."""
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is None:
        return lines
    docstring = node.body[0]
    assert docstring.end_lineno is not None
    return lines - (docstring.end_lineno - docstring.lineno + 1)


def defines_options(node: ast.AST) -> bool:
    """Whether a function builds the parser of a command line: a list of options has no parts to split it into."""
    return any(isinstance(part, ast.Attribute) and part.attr == "add_argument" for part in ast.walk(node))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_short():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_OF_FILES} == {}


def test_functions_are_short():
    long = {
        f"{name_of(path)}:{node.lineno} {node.name}": length(node)
        for path in SOURCES
        for node in functions(path)
        if length(node) > LINES_OF_FUNCTIONS and not defines_options(node)
    }
    assert long == {}


def test_modules_have_docstrings():
    lacking = [name_of(p) for p in SOURCES if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))]
    assert lacking == []


@pytest.mark.parametrize("paths", [SOURCES, SCRIPTS, PAGES], ids=["parzc", "benchmarks", "pages"])
def test_words_are_those_of_the_field(paths):
    found = [
        f"{name_of(path)}:{number}: {match[0]}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in OLD_WORDS.finditer(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def short():\n    pass\n", (2, False)),
        ('def explained():\n    """First.\n\n    Second.\n    """\n    pass\n', (2, False)),
        ("def options(parser):\n    parser.add_argument('--seed')\n    return parser\n", (3, True)),
        ("def alias(parser):\n    add = parser.add_argument\n    add('--seed')\n", (3, True)),
        ("def other(parser):\n    parser.parse_args()\n", (2, False)),
    ],
)
def test_only_functions_that_define_options_are_exempt(tmp_path, code, expected):
    path = tmp_path / "module.py"
    path.write_text(code, encoding="utf-8")
    (node,) = functions(path)
    assert (length(node), defines_options(node)) == expected


def test_the_pattern_finds_old_words_and_leaves_others():
    old = ("a label tells it", "members beside the mixers", "Ranker.shares_", "the description of an architecture")
    new = (
        "described in the paper",
        "all of them share it",
        "besides",
        "search.tell(trial)",
        "the description of a table",
    )
    assert [bool(OLD_WORDS.search(text)) for text in old] == [True] * len(old)
    assert [bool(OLD_WORDS.search(text)) for text in new] == [False] * len(new)
