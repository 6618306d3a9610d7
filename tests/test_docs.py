"""Every Python block of the README and the guides runs, and every figure in them is the recorded one."""

import importlib.util
import re
from pathlib import Path

import pytest

from parzc import datasets
from parzc.datasets.spaces import _registry

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://)([^)#]+)")


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_python_blocks_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What a page registers is gone behind it.
    monkeypatch.setattr(_registry, "_SPACES", dict(_registry._SPACES))
    names: dict[str, object] = {}
    for number, code in enumerate(blocks(page)):
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_are_the_recorded_ones(page):
    spec = importlib.util.spec_from_file_location("report", ROOT / "benchmarks" / "report.py")
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    text = page.read_text(encoding="utf-8")
    assert report.fill(text) == text, f"{page.name} is out of date: python benchmarks/report.py {page.name}"


def test_scripts_named_in_the_pages_exist():
    named = {script for page in PAGES for script in re.findall(r"python ((?:\w+/)*\w+\.py)", page.read_text("utf-8"))}
    assert {"train.py", "evaluate.py"} <= named
    assert [script for script in sorted(named) if not (ROOT / script).is_file()] == []


def test_the_table_of_spaces_is_the_generated_one():
    assert datasets.spaces_table() in (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")
