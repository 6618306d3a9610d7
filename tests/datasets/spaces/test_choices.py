"""A space from a dictionary: notation, conditions, drawing, slots; worked out by hand."""

from collections import Counter

import numpy as np
import pytest
import torch
from choice_spaces import PLAIN, STAGED, build_plain
from torch import nn

import parzc
from parzc import Choices
from parzc.datasets import Decision, Slot, load_table, missing_slots
from parzc.errors import InputError

NESTED = {"block": {"conv": {"kernel": [3, 5], "act": {"relu": {}, "prelu": {"shared": [False, True]}}}, "pool": {}}}


def linear(**_):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 10))


def space_of(choices, build=linear, **settings):
    return Choices(build, choices, input_shape=(3, 4, 4), **settings)


def test_a_plain_space_is_listed_in_the_order_of_its_choices():
    assert parzc.datasets.Choices is Choices
    assert PLAIN.size == 12 and len(PLAIN.archs()) == 12
    assert PLAIN.archs()[:3] == (
        "width=8,kernel=3,skip=False",
        "width=8,kernel=3,skip=True",
        "width=8,kernel=5,skip=False",
    )
    assert PLAIN.decompose("width=8,kernel=5,skip=True") == {"width": 8, "kernel": 5, "skip": True}
    assert PLAIN.compose({"skip": True, "width": 8.0, "kernel": 5}) == "width=8,kernel=5,skip=True"


def test_conditional_decisions_exist_only_with_their_choice():
    space = space_of(NESTED)
    assert space.decisions == (
        Decision("block", ("conv", "pool")),
        Decision("block.kernel", (3, 5), "block", ("conv",)),
        Decision("block.act", ("relu", "prelu"), "block", ("conv",)),
        Decision("block.act.shared", (False, True), "block.act", ("prelu",)),
    )
    assert space.archs() == (
        "block=conv,block.kernel=3,block.act=relu",
        "block=conv,block.kernel=3,block.act=prelu,block.act.shared=False",
        "block=conv,block.kernel=3,block.act=prelu,block.act.shared=True",
        "block=conv,block.kernel=5,block.act=relu",
        "block=conv,block.kernel=5,block.act=prelu,block.act.shared=False",
        "block=conv,block.kernel=5,block.act=prelu,block.act.shared=True",
        "block=pool",
    )
    assert space.size == 7
    assert space.neighbours("block=pool") == list(space.archs()[:6])
    assert space.graph("block=pool").operations == (
        *("input", "block=pool", "no block.kernel", "no block.act", "no block.act.shared", "output"),
    )


def test_build_gets_the_active_choices_only():
    seen = []

    def build(**given):
        seen.append(given)
        return linear()

    space_of(NESTED, build).network("block=conv,block.kernel=5,block.act=prelu,block.act.shared=True")
    space_of(NESTED, build).network("block=pool")
    assert seen == [
        {"block": "conv", "block_kernel": 5, "block_act": "prelu", "block_act_shared": True},
        {"block": "pool"},
    ]


def test_two_choices_may_bring_the_same_decision():
    space = space_of({"op": {"conv": {"k": [3, 5]}, "sep": {"k": [3, 5]}, "pool": {}}})
    assert space.decisions[1] == Decision("op.k", (3, 5), "op", ("conv", "sep"))
    assert space.size == 5
    with pytest.raises(InputError, match=r"'op\.k' has other choices where 'op' is 'sep' than elsewhere; give"):
        space_of({"op": {"conv": {"k": [3, 5]}, "sep": {"k": [3, 7]}}})


def test_choices_of_every_kind_are_written_and_read():
    given = (1, 2.5, -3, "max pool", None, True, (3, 5), (), ("a", None), 1e-5)
    space = space_of({"x": [choice for choice in given if choice != 1 or choice is True], "y": [(1,), 1, 0.0]})
    assert space.archs()[0] == "x=2.5,y=(1)" and "x=(3,5),y=1" in space.archs()
    for arch in space.archs():
        assert space.compose(space.decompose(arch)) == arch
    assert space.decompose("x=(a,None),y=0.0") == {"x": ("a", None), "y": 0.0}
    assert space.canonical("y=1, x=max pool") == "x=max pool,y=1"


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "choices are a dictionary with at least one decision"),
        ([1], "choices are a dictionary with at least one decision"),
        ({"a": []}, "'a' has no choices; give at least one"),
        ({"a": 3}, "the choices of 'a' are 3; give a list"),
        ({"a": "conv"}, "the choices of 'a' are 'conv'; give a list"),
        ({"a": [1, 2, 1]}, "'a' has the choice 1 twice"),
        ({"a": [1, True]}, "'a' has the choice True twice, or one equal to it"),
        ({"a": ["True", True]}, "'a' has the choice True twice"),
        ({"a": [[1, 2]]}, r"'a' has the choice \[1, 2\]; give numbers"),
        ({"a": [float("nan")]}, "'a' has the choice nan; give numbers"),
        ({"a": ["x=y"]}, "'a' has the choice 'x=y'; a text is not empty"),
        ({"a": [""]}, "'a' has the choice ''; a text is not empty"),
        ({"a": [((1, 2), 3)]}, "tuples in tuples cannot be written"),
        ({"a b": [1]}, "'a b' names no decision; give letters"),
        ({3: [1]}, "3 names no decision"),
        ({"a": {"x": [1]}}, "'a' gives 'x' no dictionary of further decisions; write {} where there are none"),
        ({"a_b": [1], "a": {"x": {"b": [2]}}}, r"'a\.b' and 'a_b' would both be the argument 'a_b'"),
    ],
)
def test_what_cannot_be_a_choice_is_said_in_one_sentence(choices, message):
    with pytest.raises(InputError, match=message):
        space_of(choices)


@pytest.mark.parametrize(
    ("arch", "why"),
    [
        ("width=8,kernel=3", "no choice is made for 'skip'"),
        ("width=8,kernel=4,skip=True", "'kernel' cannot be '4'; give 3, 5"),
        ("width=8,width=8,kernel=3,skip=True", "'width' is there twice"),
        ("width=8,depth=3", "'depth' is no decision"),
    ],
)
def test_what_is_no_arch_is_refused_with_the_reason(arch, why):
    with pytest.raises(InputError, match=f"^'{arch}' is not an arch of build-plain: {why}.*; write it like 'width=8,"):
        PLAIN.canonical(arch)


def test_every_arch_is_drawn_equally_often():
    space, rng = space_of(NESTED), np.random.default_rng(0)
    drawn = Counter(space.draw(rng) for _ in range(7_000))
    assert set(drawn) == set(space.archs())
    # The standard deviation of each count is 29.
    assert all(abs(count - 1_000) < 120 for count in drawn.values())
    assert STAGED.size == 2 * (3 * 2 + 1 + 1) * (2 + 1) * 8**4 and len(set(STAGED.sample(50, 0))) == 50


def test_a_build_that_fails_is_named_with_its_arguments():
    with pytest.raises(InputError, match=r"^build\(a=1\) of linear raises TypeError: .*'a'; correct the function"):
        Choices(lambda: linear(), {"a": [1]}, name="linear").network("a=1")
    with pytest.raises(InputError, match=r"^build\(a=1\) of choices returns int; return a torch\.nn\.Module"):
        Choices(lambda a: a, {"a": [1]}).network("a=1")
    with pytest.raises(InputError, match="build is 3, and not a function"):
        Choices(3, {"a": [1]})


def test_weights_that_the_function_draws_itself_follow_the_seed():
    class Drawn(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.randn(3))

    space = space_of({"a": [1, 2]}, lambda **_: Drawn())
    first, again, other = (space.network("a=1", seed=seed).scale for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_slots_are_those_of_all_networks():
    assert [(slot.name, slot.edge, slot.stage) for slot in PLAIN.slots] == [(n, n, 0) for n in ("0", "4", "2", "6")]
    for arch in STAGED.sample(200, 3):
        layers = [name for name, m in STAGED.network(arch).named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert missing_slots(STAGED, layers) == []
    assert {slot.name for slot in STAGED.slots} == {"first", "second", "mix0", "mix1", "mix2", "mix3", "se", "head.2"}
    own = space_of({"a": [1, 2]}, slots=(Slot("1", "all", 0, 0),))
    assert own.slots == (Slot("1", "all", 0, 0),) and missing_slots(own, ["2", "1", "3"]) == ["2", "3"]
    assert space_of({"a": [1, 2]}).slots == (Slot("1", "1", 0, 0, searchable=False),)


def test_tables_may_have_a_column_for_each_decision(tmp_path):
    space = space_of(NESTED)
    path = tmp_path / "table.csv"
    path.write_text(
        "block,block.kernel,block.act,block.act.shared,acc\nconv,3.0,prelu,True,1\nconv,5,relu,,2\npool,nan,,,3\n"
    )
    table = load_table(path, space=space)
    assert table.archs == (space.archs()[2], space.archs()[3], "block=pool")
    path.write_text("block,block.kernel,block.act,block.act.shared,acc\npool,3,,,1\n")
    with pytest.raises(InputError, match=r"row 2: 'block\.kernel' is '3', but does not exist in this arch; empty"):
        load_table(path, space=space)


def test_the_cost_is_that_of_the_network():
    cost = Choices(build_plain, {"width": [4, 8], "kernel": [3], "skip": [True]}, input_shape=(3, 8, 8)).cost(
        "width=4,kernel=3,skip=True"
    )
    # 3 x 3 x 3 weights and a bias for each of 4 channels at 64 pixels; 4 weights and a bias for each of 10 classes.
    assert (cost.params, cost.macs, cost.n_layers) == (4 * 28 + 50, 64 * 4 * 28 + 50, 2)
