"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
from helpers import fitted
from made_rows import block_rows, row, rows  # noqa: F401  # fixtures

from parzc.ranker.presets import PRESETS


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of published tables and sample files: `PARZC_DATA`, by default `../shared/data`."""
    root = Path(__file__).resolve().parents[1]
    path = (root / os.environ.get("PARZC_DATA", "../shared/data")).resolve()
    if not path.is_dir():
        pytest.skip(f"needs the published tables, and {path} is no folder; set PARZC_DATA")
    return path


@pytest.fixture(scope="session")
def ranker():
    return fitted()


@pytest.fixture(scope="session")
def paper():
    return fitted("paper")


@pytest.fixture(params=PRESETS)
def either(request):
    """The fitted ranker of each preset."""
    shared = {"default": "ranker", "paper": "paper"}
    return request.getfixturevalue(shared[request.param]) if request.param in shared else fitted(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("slow"):
            if not mark.args:
                raise pytest.UsageError(f"{item.nodeid} is marked as slow without a reason")
