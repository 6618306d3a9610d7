"""What every test of tuning needs."""

import optuna
import pytest


@pytest.fixture(autouse=True)
def verbosity():
    """Optuna's, which `tune` lowers for the process."""
    level = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(level)
