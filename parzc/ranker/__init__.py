"""The ranker: fitted on few labelled architectures, it scores all others and says how sure it is."""

from parzc.ranker.estimator import Ranker

__all__ = ["Ranker"]
