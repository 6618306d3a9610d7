"""What belongs to the project around the package: records, pictures, the site, metadata, checks."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from scripts import ROOT, module_of

import parzc

RECORDS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


@pytest.fixture(scope="module")
def records():
    return module_of("benchmarks/_records.py")


def test_records_have_a_line_for_each_method(records, tmp_path):
    path = tmp_path / "record.json"
    method = {"kind": "proxy", "kendall": {"mean": 0.5, "values": [0.25, 0.75]}, "seconds": []}
    record = {
        "space": "nb201",
        "machine": {"cores": 2},
        "turns": [{"MB": 1}, {"MB": 2}],
        "results": {"78": {"a": method}},
    }
    records.write(path, record)
    assert path.read_text(encoding="utf-8") == (
        '{\n "space": "nb201",\n "machine": {"cores": 2},\n "turns": [\n  {"MB": 1},\n  {"MB": 2}\n ],\n'
        ' "results": {\n  "78": {\n'
        '   "a": {"kind": "proxy", "kendall": {"mean": 0.5, "values": [0.25, 0.75]}, "seconds": []}\n  }\n }\n}\n'
    )
    assert records.read(path) == record
    assert records.read(tmp_path / "none.json", {"results": {}}) == {"results": {}}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_records_are_as_they_are_written(records, path, tmp_path):
    records.write(tmp_path / "again.json", json.loads(path.read_text(encoding="utf-8")))
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_each_record_has_one_script():
    found = module_of("benchmarks/_map.py")
    assert {path.stem: len(found.scripts_of(path.stem)) for path in RECORDS} == {path.stem: 1 for path in RECORDS}
    scripts = [name for name in found.SCRIPTS if " " not in name]
    assert [name for name in scripts if not (ROOT / "benchmarks" / name).is_file()] == []


def test_the_picture_of_the_architecture_is_up_to_date():
    found = module_of("docs/architecture.py")
    assert found.PICTURE.read_text(encoding="utf-8") == found.svg(), "out of date: python docs/architecture.py"


def test_the_picture_shows_the_imports(tmp_path):
    found = module_of("docs/architecture.py")
    path = tmp_path / "module.py"
    path.write_text(
        "import os\nimport parzc.files as f\nfrom parzc import datasets\nfrom parzc.ranker.losses import x\n"
    )
    assert list(found.imported(path)) == ["files", "datasets", "ranker"]
    assert ("ranker", "models") in found.arrows() and ("models", "ranker") not in found.arrows()


@pytest.mark.parametrize(
    ("target", "source", "page", "expected"),
    [
        ("docs/ranker.md", "README.md", "index.md", "ranker.md"),
        ("../README.md", "docs/ranker.md", "ranker.md", "index.md"),
        ("../ranker.md", "docs/reference/ranker.md", "reference/ranker.md", "../ranker.md"),
        ("../docs/results.md", "benchmarks/README.md", "benchmarks.md", "results.md"),
        ("../train.py", "docs/ranker.md", "ranker.md", "https://github.com/parzc/parzc/blob/main/train.py"),
    ],
)
def test_links_of_the_site(target, source, page, expected):
    pytest.importorskip("mkdocs")
    assert module_of("docs/site.py").destination(target, source, page) == expected


def test_what_would_be_loaded_from_other_hosts_is_found():
    pytest.importorskip("mkdocs")
    page = (
        '<a href="https://a.org"></a><img alt="" src="https://b.org/x.png"><link href="//c.org/y.css"><img src="z.png">'
    )
    assert module_of("docs/site.py").LOADED.findall(page) == ["https://b.org/x.png", "//c.org/y.css"]


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert parzc.__version__ == project["version"] == citation["version"]
    assert citation["license"] == project["license"]
    assert re.search(
        rf"^## {re.escape(project['version'])}\b", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )


def test_the_citation_names_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert paper["url"] in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_commit_hook_is_a_check():
    checks = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    commands = [hook["entry"].split(" --")[0] for hook in hooks]
    assert commands == ["ruff check", "ruff format", "mypy", "lint-imports"]
    assert [command for command in commands if not re.search(rf"^{command}\b", checks, re.MULTILINE)] == []


def test_the_workflow_runs_the_same_checks_on_each_supported_python():
    jobs = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text(encoding="utf-8"))["jobs"]
    assert ".ci/run" in [step.get("run") for step in jobs["checks"]["steps"]]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    supported = [c.rsplit(" ")[-1] for c in classifiers if c.startswith("Programming Language :: Python :: 3.")]
    assert jobs["checks"]["strategy"]["matrix"]["python"] == supported
    assert Path(ROOT / ".ci" / "run").stat().st_mode & 0o111
