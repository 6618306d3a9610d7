"""Every Python block of the pages runs, every table of figures is the recorded one, and what the pages name exists."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
from scripts import ROOT, module_of

from parzc import datasets
from parzc.datasets.spaces import _registry
from parzc.features.proxies import _registry as _proxies

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""Pages about this version alone."""

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://)([^)#]+)")
PATH = re.compile(r"`((?:parzc|tests|benchmarks|docs)/[\w./-]*)`")
NAME = re.compile(r"`(parzc(?:\.\w+)+)[`(]")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report():
    return module_of("benchmarks/report.py")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
def test_python_blocks_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What a page registers is gone behind it.
    monkeypatch.setattr(_registry, "_SPACES", dict(_registry._SPACES))
    monkeypatch.setattr(_proxies, "_PROXIES", dict(_proxies._PROXIES))
    names: dict[str, object] = {}
    for number, code in enumerate(blocks(page)):
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_figures_are_the_recorded_ones(page, report):
    text = page.read_text(encoding="utf-8")
    assert report.fill(text) == text, f"out of date: python benchmarks/report.py {name_of(page)}"


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_paths_in_the_pages_exist(page):
    named = PATH.findall(page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


ENTRY_POINTS = ("parzc.proxies", "parzc.spaces", "parzc.tables")
"""Groups by which other packages add to parzc."""


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_names_in_the_pages_exist(page):
    named = sorted(set(NAME.findall(page.read_text(encoding="utf-8"))))
    assert [name for name in named if name not in ENTRY_POINTS and not exists(name)] == []


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    found: object = importlib.import_module("parzc")
    path = "parzc"
    for part in name.split(".")[1:]:
        path += f".{part}"
        if isinstance(found, ModuleType) and not hasattr(found, part):
            try:
                importlib.import_module(path)
            except ModuleNotFoundError:
                return False
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def test_scripts_named_in_the_pages_exist():
    named = {script for page in PAGES for script in re.findall(r"python ((?:\w+/)*\w+\.py)", page.read_text("utf-8"))}
    assert {"train.py", "evaluate.py"} <= named
    # What is called my_... stands for a file of the reader.
    assert [script for script in sorted(named) if not ((ROOT / script).is_file() or script.startswith("my_"))] == []


def test_the_table_of_spaces_is_the_generated_one():
    assert datasets.spaces_table() in (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")
