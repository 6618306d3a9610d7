"""Candidates: none infeasible, none twice, and all of them where the space can be listed."""

import time
from types import MappingProxyType

import numpy as np
import psutil
import pytest
from choice_spaces import PLAIN, STAGED

from parzc import InputError
from parzc.datasets import Cost, Graph, Space, Task, get_space
from parzc.search import Budget, Pool, Search
from parzc.search.feasibility import resolved

NB201 = get_space("nb201")


def pool_of(space, budget=None, **known):
    return Pool(space, Budget.parse(space, budget), **known)


def test_a_listed_pool_has_each_function_once():
    pool = pool_of(NB201, taken={NB201.archs()[5]})
    archs = pool.archs()
    functions = {NB201.canonical(arch) for arch in NB201.archs()}
    assert pool.listed and len(archs) == len(set(archs)) == len(functions) - (NB201.archs()[5] in functions)
    assert set(archs) == functions - {NB201.archs()[5]}


def test_a_budget_leaves_what_is_within_it():
    pool = pool_of(NB201, {"flops": (5e7, 6e7)})
    expected = {f for f in map(NB201.canonical, NB201.archs()) if 5e7 <= NB201.cost(f).macs <= 6e7}
    assert set(pool.archs()) == expected and len(pool.archs()) == len(expected) > 100
    left = pool.without(sorted(expected)[10:])
    assert sorted(left.archs()) == sorted(expected)[:10]
    assert sorted(left.draw(50, np.random.default_rng(0))) == sorted(expected)[:10]
    assert left.draw(4, np.random.default_rng(1)) == left.draw(4, np.random.default_rng(1))


def test_a_given_list_is_asked_for_as_it_is_written():
    dead = "|none~0|+|nor_conv_3x3~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
    function = NB201.canonical(dead)
    assert function != dead
    assert (
        pool_of(NB201, archs=[dead]).archs() == [dead] == pool_of(NB201, archs=[dead]).draw(2, np.random.default_rng(0))
    )
    assert pool_of(NB201, archs=[dead, function]).archs() == [function]
    assert pool_of(NB201, archs=[dead], taken=[function]).archs() == []
    # What is counted is what would be trained.
    cost = NB201.cost(dead).macs
    assert cost > NB201.cost(function).macs and pool_of(NB201, {"flops": cost - 1}, archs=[dead]).archs() == []
    assert pool_of(NB201, archs=[dead]).candidate(NB201.archs()[0]) is None


def test_steps_stay_within_the_budget_and_the_list():
    pool = pool_of(NB201, {"flops": 5e7})
    rng = np.random.default_rng(0)
    start, other = pool.draw(2, rng)
    near = pool.neighbours(start)
    around = set(map(NB201.canonical, NB201.neighbours(start))) - {start}
    assert set(near) == {function for function in around if NB201.cost(function).macs <= 5e7} < around
    for _ in range(30):
        for made in (pool.mutate(start, rng), pool.crossover(start, other, rng)):
            assert made is not None and pool.budget.allows(made) and NB201.canonical(made) == made
    closed = pool.without([start, *near])
    assert closed.neighbours(start) == [] and closed.mutate(start, rng, tries=5) is None


def test_a_pool_without_an_evaluator_measures_nothing():
    with pytest.raises(InputError, match="these candidates have no evaluator"):
        pool_of(PLAIN).features(PLAIN.archs())


def test_a_space_that_cannot_be_listed_says_so():
    tiny = get_space("autoformer-tiny")
    assert not pool_of(tiny).listed and not pool_of(STAGED).listed
    with pytest.raises(InputError, match="too many to list; draw some"):
        pool_of(tiny).archs()


@pytest.mark.parametrize(
    ("space", "budget", "proposals"),
    [
        (NB201, {"flops": "80%", "params": (8e4, 1.3e6)}, 4500),
        (get_space("autoformer-tiny"), {"params": (5.4e6, 6.6e6), "flops": "90%"}, 3800),
        (get_space("transnas-macro"), {"flops": (5e8, 6e9)}, 1500),
        (STAGED, {"params": (30, 700)}, 200),
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_no_proposal_is_infeasible_or_made_twice(space, budget, proposals):
    """10,000 proposals in four spaces: drawn, mutated, crossed, each checked against the space itself."""
    pool = pool_of(space, budget)
    pool = pool.within(resolved(pool.source, pool.budget))
    rng, functions, made = np.random.default_rng(0), set(), list(pool.draw(10, np.random.default_rng(1)))
    for arch in made:
        functions.add(space.canonical(arch))
    assert len(functions) == 10
    while len(made) < proposals:
        left = pool.without(functions)
        a, b = (made[i] for i in rng.integers(len(made), size=2))
        batch = left.draw(3, rng) if len(made) % 3 == 0 else [left.mutate(a, rng, 5), left.crossover(a, b, rng, 5)]
        batch = list(dict.fromkeys(arch for arch in batch if arch is not None))
        if not batch and not left.draw(1, rng):
            break
        for arch in batch:
            function = space.canonical(arch)
            assert function not in functions
            functions.add(function)
            made.append(arch)
    assert len(made) >= proposals
    for arch in made:
        cost = space.cost(arch)
        for bound in pool.budget.bounds:
            value = {"params": cost.params, "flops": cost.macs}[bound.quantity]
            assert bound.lower <= value <= bound.upper


class Million(Space):
    """A million architectures, written as numbers; even ones cost more."""

    name = "million"
    tasks = MappingProxyType({"none": Task("none", (1, 2, 2), 2)})
    size = 10**9

    def network(self, arch, task="", seed=0):
        raise NotImplementedError

    def graph(self, arch):  # noqa: ARG002
        return Graph(("input", "output"), np.eye(2, k=1, dtype=bool))

    def canonical(self, arch):
        return arch

    def cost(self, arch, task=""):  # noqa: ARG002
        return Cost(int(arch), 2 - int(arch) % 2, 1)


@pytest.mark.slow("a million candidates are counted")
def test_a_search_among_a_million_candidates(tmp_path):
    archs = [f"{number:07d}" for number in range(10**6)]
    process = psutil.Process()
    before, start = process.memory_info().rss, time.monotonic()
    search = Search(Million(), archs=archs, algorithm="random", budget={"flops": 1, "params": 500_000}, folder=tmp_path)
    trials = search.ask(8)
    assert len({t.arch for t in trials}) == 8 and all(int(t.arch) % 2 and int(t.arch) <= 500_000 for t in trials)
    candidates = search.pool().archs()
    assert len(candidates) == 250_000 - 8 and candidates[:2] == ["0000001", "0000003"]
    assert time.monotonic() - start < 60 and process.memory_info().rss - before < 2e9
