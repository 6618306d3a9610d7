"""Optuna over a ranker's settings, by cross-validation inside the labelled networks; no other label is seen."""

from parzc.tuning.report import trial_table, tuning_figure, write_report
from parzc.tuning.search import Tuned, TunedRanker, study_name, tune
from parzc.tuning.spaces import PUBLISHED_SPACES, RANGES, SEARCH_SPACES, search_space
from parzc.tuning.storage import load_study

__all__ = [
    "PUBLISHED_SPACES",
    "RANGES",
    "SEARCH_SPACES",
    "Tuned",
    "TunedRanker",
    "load_study",
    "search_space",
    "study_name",
    "trial_table",
    "tune",
    "tuning_figure",
    "write_report",
]
