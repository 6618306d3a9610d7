"""The public name of `parzc.evaluation.uncertainty`."""

from parzc.evaluation.uncertainty import probability_above, rank_intervals

__all__ = ["probability_above", "rank_intervals"]
