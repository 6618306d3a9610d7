"""Whatever is fuzzed leaves no file behind that was not there."""

import pytest


@pytest.fixture
def marker(tmp_path):
    """A file that payloads would leave; it must not be there in the end."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()
