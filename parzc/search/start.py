"""How a search begins: with its candidates, and what they cost."""

from collections.abc import Mapping, Sequence

from parzc.datasets import Space
from parzc.features.extraction.progress import say
from parzc.search.budgets import Budget, Given, Measure
from parzc.search.evaluator import Evaluator
from parzc.search.feasibility import Overview, overview, resolved
from parzc.search.pool import Pool


def candidates(
    space: Space,
    budget: Given | Budget,
    costs: Mapping[str, Measure] | None,
    task: str,
    archs: Sequence[str] | None,
    evaluator: Evaluator,
    progress: bool,
) -> tuple[Pool, list[Overview]]:
    """Return the candidates of a search, and smallest, median and largest of each budgeted quantity among draws.

    See `Search` for the arguments. Percentages of the budget are turned into numbers.

    Raises:
        InputError: if the budget cannot be read or kept.
    """
    asked = Budget.parse(space, budget, task).recording(costs or {})
    every = Pool(space, asked, task, archs=archs, evaluator=evaluator)
    pool = every.within(resolved(every.source, asked))
    found = overview(pool.source, pool.budget)
    for quantity in found:
        say(str(quantity), progress)
    return pool, found
