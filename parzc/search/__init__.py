"""Search: asks for architectures to train, under hard budgets, and learns from their accuracies."""

from parzc.search.budgets import Budget
from parzc.search.history import History, Trial
from parzc.search.pool import Pool
from parzc.search.sampler import Sampler
from parzc.search.search import Search
from parzc.search.training_free import TrainingFreeSearch

__all__ = ["Budget", "History", "Pool", "Sampler", "Search", "TrainingFreeSearch", "Trial"]
