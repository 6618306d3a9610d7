"""The forest on descriptions: with the states where these tell labels, without them where they do not."""

import numpy as np
import pytest
import torch

from parzc.models.architecture_forest import ArchitectureForest
from parzc.models.trees import RandomForest

SHAPES = ((2, 3), (4,), (2,), (3,), (2,), (30,))
"""What was measured, then places, summary and states."""


def rows(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, *shape, generator=generator) for shape in SHAPES]


INPUTS, OTHERS = rows(40, 0), rows(30, 1)
TOLD_BY_STATES, TOLD_BY_PLACES = INPUTS[5][:, 3] + INPUTS[5][:, 8], INPUTS[3].sum(1)


def error(forest, labels):
    return float((forest.out_of_bag - labels).square().mean())


def alone(inputs, labels, seed=0):
    return RandomForest(len(labels), 3).fit(inputs, labels, seed)


@pytest.mark.parametrize(("labels", "helps"), [(TOLD_BY_STATES, True), (TOLD_BY_PLACES, False)])
def test_the_better_of_two_forests_is_kept(labels, helps):
    forest = ArchitectureForest(40).fit(INPUTS, labels, 0)
    both = [alone(INPUTS, labels), alone(INPUTS[:5], labels)]
    errors = [error(one, labels) for one in both]
    assert (errors[0] < 0.9 * errors[1]) if helps else (errors[1] < 0.9 * errors[0])
    kept, seen = (both[0], OTHERS) if helps else (both[1], OTHERS[:5])
    assert torch.equal(forest(*OTHERS), kept(*seen))
    assert torch.equal(forest.out_of_bag, kept.out_of_bag)


def test_what_was_measured_is_not_read():
    forest = ArchitectureForest(40).fit(INPUTS, TOLD_BY_STATES, 0)
    assert torch.equal(forest(*OTHERS), forest(*rows(30, 2)[:3], *OTHERS[3:]))
    assert not torch.equal(forest(*OTHERS), forest(*OTHERS[:5], rows(30, 2)[5]))


def test_without_columns_of_states_there_is_one_forest():
    inputs, others = ([*t[:5], t[5][:, :0]] for t in (INPUTS, OTHERS))
    forest = ArchitectureForest(40).fit(inputs, TOLD_BY_PLACES, 3)
    assert torch.equal(forest(*others), alone(inputs, TOLD_BY_PLACES, 3)(*others))


@pytest.mark.parametrize("labels", [TOLD_BY_STATES, TOLD_BY_PLACES])
def test_the_state_is_all_there_is_to_save(labels):
    forest, loaded = ArchitectureForest(40).fit(INPUTS, labels, 0), ArchitectureForest(40)
    loaded.load_state_dict(forest.state_dict())
    loaded.check(SHAPES)
    assert torch.equal(loaded(*OTHERS), forest(*OTHERS))


def test_fitting_repeats_and_leaves_the_random_states_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, other = (ArchitectureForest(40).fit(INPUTS, TOLD_BY_STATES, 5) for _ in range(2))
    assert torch.equal(one(*OTHERS), other(*OTHERS))
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
