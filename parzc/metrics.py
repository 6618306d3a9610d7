"""The public name of `parzc.evaluation.metrics`."""

from parzc.evaluation.metrics import (
    bootstrap_interval,
    calibration_error,
    fill_missing,
    kendall_tau,
    ndcg_at_k,
    pearson,
    precision_at_fraction,
    precision_at_k,
    regret_at_k,
    spearman,
)

__all__ = [
    "bootstrap_interval",
    "calibration_error",
    "fill_missing",
    "kendall_tau",
    "ndcg_at_k",
    "pearson",
    "precision_at_fraction",
    "precision_at_k",
    "regret_at_k",
    "spearman",
]
