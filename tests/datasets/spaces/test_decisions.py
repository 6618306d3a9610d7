"""What a search does with decisions: neighbours, mutation, crossover; one random argument."""

from collections import Counter

import numpy as np
import pytest
from choice_spaces import STAGED

from parzc.datasets import Decision, Space, as_generator, get_space
from parzc.errors import InputError


class Sums(Space):
    """Pairs of digits from 0 to 3 whose sum is even, written `ab`: a space with a constraint."""

    name = "sums"
    size = 8
    decisions = (Decision("a", (0, 1, 2, 3)), Decision("b", (0, 1, 2, 3)))
    network = graph = cost = None

    def canonical(self, arch):
        self.decompose(arch)
        return arch

    def compose(self, choices):
        if (choices["a"] + choices["b"]) % 2:
            raise InputError("the sum is odd")
        return f"{choices['a']}{choices['b']}"

    def decompose(self, arch):
        return {"a": int(arch[0]), "b": int(arch[1])}


def test_only_members_come_out_where_choices_are_constrained():
    space = Sums()
    assert space.archs() == ["00", "02", "11", "13", "20", "22", "31", "33"]
    assert space.neighbours("00") == ["20", "02"]
    assert {space.mutate("00", seed) for seed in range(40)} == {"02", "20"}
    assert {space.crossover("00", "13", seed) for seed in range(60)} == {"00", "13"}
    assert {space.crossover("00", "22", seed) for seed in range(60)} == {"00", "02", "20", "22"}
    assert set(space.sample(8, 0)) == set(space.archs())


def test_seeds_and_generators_give_the_same():
    space = get_space("nb201")
    arch, other = space.sample(2, 5)
    assert space.sample(4, 7) == space.sample(4, np.random.default_rng(7))
    assert space.mutate(arch, 7) == space.mutate(arch, np.random.default_rng(7))
    assert space.crossover(arch, other, 7) == space.crossover(arch, other, np.random.default_rng(7))
    generator = np.random.default_rng(0)
    assert as_generator(generator) is generator
    for wrong in (-1, 1.5, "3", None, True):
        with pytest.raises(InputError, match=r"is no seed; give a whole number from 0, or a numpy\.random\.Generator"):
            space.sample(2, wrong)


@pytest.mark.parametrize("name", ["nb201", "transnas-micro", "transnas-macro", "nats-sss", "autoformer-tiny", "darts"])
def test_neighbours_differ_in_one_decision(name):
    space = get_space(name)
    known = {decision.name: decision for decision in space.decisions}
    arch = space.sample(1, 4)[0]
    own = space.decompose(arch)
    near = space.neighbours(arch)
    for other in near[:: max(1, len(near) // 40)]:
        found = space.decompose(other)
        if name == "darts":  # the two edges of a node have an order, so that a new source may swap them
            assert 1 <= sum(found[key] != own[key] for key in own) <= 4
            continue
        changed = {key for key in own.keys() & found.keys() if own[key] != found[key]}
        appeared = own.keys() ^ found.keys()
        assert len(changed) == 1 and all(known[key].parent in changed for key in appeared)


def test_the_numbers_of_neighbours_are_those_of_the_choices():
    assert len(get_space("nb201").neighbours("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")) == 6 * 4
    assert len(get_space("nats-sss").neighbours("8:16:24:32:64")) == 5 * 7
    # One of 6 layers may change to 3 others, as far as the shape changes often enough, and never too often.
    macro = get_space("transnas-macro")
    digits = "1234"
    changed = {"1234"[:i] + d + "1234"[i + 1 :] for i in range(4) for d in digits} - {"1234"}
    longer = {"1234" + d for d in digits} | {"1234" + d + e for d in digits for e in digits}
    wanted = {f"64-{layers}-basic" for layers in changed | longer} & set(macro.archs())
    assert set(macro.neighbours("64-1234-basic")) == wanted


def test_nb101_neighbours_are_all_that_mutations_reach():
    space = get_space("nb101")
    arch = "conv3x3-bn-relu:1|maxpool3x3:01|output:101"
    near = space.neighbours(arch)
    reached = {space.canonical(space.mutate(arch, seed)) for seed in range(3_000)}
    assert {space.canonical(other) for other in near} == reached
    assert space.compose(space.decompose(arch)) == arch
    with pytest.raises(InputError, match="no path leads from the input to the output"):
        space.compose(space.decompose(arch) | {"0-6": False, "2-6": False})


def test_children_have_each_choice_from_a_parent():
    a = "width=4,first=conv,first.kernel=5,first.se=True,second=pool,w0=2,w1=2,w2=2,w3=2"
    b = "width=8,first=pool,second=conv,second.kernel=3,w0=16,w1=16,w2=16,w3=16"
    parents, seen = (STAGED.decompose(a), STAGED.decompose(b)), Counter()
    for seed in range(200):
        child = STAGED.decompose(STAGED.crossover(a, b, seed))
        assert all(any(parent.get(key, "absent") == value for parent in parents) for key, value in child.items())
        seen[child["width"], child["first"]] += 1
    assert set(seen) == {(4, "conv"), (4, "pool"), (8, "conv"), (8, "pool")} and min(seen.values()) > 25


def test_a_space_without_decisions_says_so():
    class Plain(Sums):
        decisions = ()

    for call in (lambda s: s.mutate("00", 0), lambda s: s.neighbours("00"), lambda s: s.crossover("00", "02", 0)):
        with pytest.raises(InputError, match="sums has no decision view; define decisions, compose and decompose"):
            call(Plain())


def test_a_space_without_tasks_says_so():
    with pytest.raises(InputError, match="sums has no task; define at least one, like tasks = "):
        Sums().task()
