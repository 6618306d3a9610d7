"""Budgets: how they are given, what they allow, and what is said where nothing keeps them."""

import itertools
import math
import time

import numpy as np
import pytest
from torch import nn

from parzc import Choices, InputError
from parzc.datasets import get_space
from parzc.search.budgets import Bound, Budget
from parzc.search.feasibility import Source, overview, resolved


def build(width, second):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, width), nn.Linear(width, second), nn.Linear(second, 2))


SPACE = Choices(build, {"width": [1, 2, 4, 8], "second": [1, 3, 9]}, input_shape=(1, 2, 2), classes=2)
COUNTED = {
    f"width={w},second={s}": (5 * w + (w + 1) * s + (s + 1) * 2, 5 * w + (w + 1) * s + (s + 1) * 2, 3)
    for w, s in itertools.product([1, 2, 4, 8], [1, 3, 9])
}
"""Parameters, multiply-accumulates (a bias is one) and layers, by hand."""


def test_costs_are_those_counted_by_hand():
    budget = Budget(SPACE)
    assert budget.quantities == ("params", "flops", "n_layers")
    for arch, counts in COUNTED.items():
        assert budget.costs(arch) == dict(zip(budget.quantities, map(float, counts), strict=True))


@pytest.mark.parametrize(
    ("given", "lower", "upper", "relative"),
    [
        ({"params": 40}, -math.inf, 40, False),
        ({"params": (20, 40)}, 20, 40, False),
        ({"params": [20, None]}, 20, math.inf, False),
        ({"params": (0, "4e1")}, 0, 40, False),
        ({"params": "50%"}, -math.inf, 0.5, True),
        ({"params": ("10%", "25 %")}, 0.1, 0.25, True),
        (["params=4e1"], -math.inf, 40, False),
        ("params=20:40", 20, 40, False),
        (["params = :40"], -math.inf, 40, False),
        (["params=20:"], 20, math.inf, False),
        (["params=10%:50%"], 0.1, 0.5, True),
    ],
)
def test_a_budget_is_given_in_many_ways(given, lower, upper, relative):
    assert Budget.parse(SPACE, given).bounds == (Bound("params", lower, upper, relative),)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"parms": 4}, "'parms' is not counted by search spaces; bound params, flops, n_layers, or give a function"),
        ({"params": (len, 4)}, "'params' is counted by the search space; give your function another name"),
        ({"params": "many"}, "'many' is no bound of 'params'; give one such as 5e6"),
        ({"params": "90_5"}, "'90_5' is no bound of 'params'"),
        ({"params": True}, "True is no bound"),
        ({"params": math.nan}, "nan is no bound"),
        ({"params": (1, 2, 3)}, r"\(1, 2, 3\) is no bound of 'params'"),
        ({"params": (None, None)}, "is no bound of 'params'"),
        ({"params": (5, 4)}, "the bound of 'params' ends at 4, below its start at 5; swap them"),
        ({"params": "120%"}, "'120%' is no bound of 'params'"),
        ({"params": (1, "50%")}, "the bound of 'params' mixes a number and a percentage"),
        (["params"], "'params' is no bound, or the second of its quantity; write it like flops=600e6"),
        (["params=3", "params=4"], "'params=4' is no bound, or the second of its quantity"),
        (["params=:"], "is no bound of 'params'"),
    ],
)
def test_a_budget_that_cannot_be_read_is_refused(given, sentence):
    with pytest.raises(InputError, match=sentence):
        Budget.parse(SPACE, given)


def test_what_a_budget_allows():
    budget = Budget.parse(SPACE, {"params": (20, 40), "n_layers": 3})
    assert {arch for arch in COUNTED if budget.allows(arch)} == {a for a, (p, _, _) in COUNTED.items() if 20 <= p <= 40}
    by_excess = {arch: budget.excess(arch) for arch in COUNTED}
    assert by_excess["width=8,second=9"] == pytest.approx((40 + 81 + 20 - 40) / 40)
    assert by_excess["width=1,second=1"] == pytest.approx((20 - 11) / 20)
    assert Budget.parse(SPACE, budget) is budget and Budget.parse(SPACE, None).bounds == ()


def test_a_function_of_ones_own_is_called_once_for_each_arch():
    calls = []

    def latency(arch):
        calls.append(arch)
        return len(calls)

    budget = Budget.parse(SPACE, {"latency": (latency, (None, 2))})
    archs = list(COUNTED)[:3]
    assert [budget.allows(a) for a in archs] == [True, True, False] == [budget.allows(a) for a in archs]
    assert calls == archs and budget.costs(archs[2])["latency"] == 3.0
    assert budget.record() == {"latency": f"latency of at most 2 by {latency.__qualname__}"}
    assert budget.recording({"energy": lambda _: 7}).costs(archs[0]) == {**budget.costs(archs[0]), "energy": 7.0}


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda _: "fast", "the function for 'latency' returns 'fast' for 'width=1,second=1'; return a number"),
        (lambda _: math.nan, "returns nan"),
        (lambda _: True, "returns True"),
        (
            lambda _: 1 / 0,
            "the function for 'latency' raises ZeroDivisionError: division by zero for 'width=1,second=1'",
        ),
    ],
)
def test_a_function_that_measures_nothing_is_named(function, sentence):
    with pytest.raises(InputError, match=sentence):
        Budget.parse(SPACE, {"latency": (function, 3)}).allows("width=1,second=1")


def test_percentages_are_of_the_largest():
    source = Source(SPACE)
    budget = resolved(source, Budget.parse(SPACE, {"params": ("10%", "50%"), "flops": 99}))
    most = max(params for params, _, _ in COUNTED.values())
    assert budget.bounds == (Bound("params", 0.1 * most, 0.5 * most), Bound("flops", upper=99.0))
    nb201 = get_space("nb201")
    found = resolved(Source(nb201), Budget.parse(nb201, {"flops": "50%"})).bounds[0].upper
    assert found == 0.5 * max(nb201.cost(arch).macs for arch in nb201.archs())


def test_the_overview_is_of_feasible_draws():
    budget = Budget.parse(SPACE, {"params": 40})
    (params,) = overview(Source(SPACE), budget)
    allowed = [p for p, _, _ in COUNTED.values() if p <= 40]
    assert (params.smallest, params.largest) == (min(allowed), max(allowed)) and 0 < params.draws < 200
    assert params.smallest <= params.median <= params.largest
    assert str(params).startswith(
        f"params of {params.draws} architectures within the budget: 11 to {max(allowed)}, median"
    )
    assert overview(Source(SPACE), Budget(SPACE)) == []


@pytest.mark.parametrize(
    ("space", "given", "sentence"),
    [
        (
            "nb201",
            {"flops": 1e6},
            "has flops of at most 1,000,000: the smallest value that was reached is 7,783,050",
        ),
        (
            "nb201",
            {"params": (2e6, None)},
            "params of at least 2,000,000: the largest value that was reached is 1,531,546",
        ),
        ("autoformer-tiny", {"params": 1e6}, "the smallest value that was reached is 5,366,056"),
        (
            "nb201",
            {"params": 1e5, "flops": (5e7, None)},
            "with params of at most 100,000 and flops of at least 50,000,000 ",
        ),
    ],
)
def test_a_budget_that_nothing_keeps_is_refused_in_time(space, given, sentence):
    start = time.monotonic()
    with pytest.raises(InputError, match=f"^no architecture of {space} .*{sentence}.*; change the budget$"):
        overview(Source(get_space(space)), Budget.parse(get_space(space), given))
    assert time.monotonic() - start < 10


def test_a_rare_budget_is_found_step_by_step():
    space = get_space("autoformer-tiny")
    budget = Budget.parse(space, {"params": 5.4e6})
    rng = np.random.default_rng(0)
    assert not any(budget.allows(space.draw(rng)) for _ in range(300))
    (params,) = overview(Source(space), budget)
    assert params.draws > 0 and params.largest <= 5.4e6
