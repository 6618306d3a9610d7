"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of published tables and sample files: `PARZC_DATA`, by default `../shared/data`."""
    root = Path(__file__).resolve().parents[1]
    path = (root / os.environ.get("PARZC_DATA", "../shared/data")).resolve()
    if not path.is_dir():
        pytest.skip(f"needs the published tables, and {path} is no folder; set PARZC_DATA")
    return path
