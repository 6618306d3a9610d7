"""The forest on the architecture encoding: with the states where these predict labels, else without them."""

import numpy as np
import pytest
import torch
from made_inputs import changed, random_inputs, shapes_of

from parzc.encoding.inputs import ARCH_PARTS
from parzc.models.architecture_forest import ArchitectureForest
from parzc.models.trees import RandomForest

SIZES = ((2, 3), (4,), (2,), (3,), (2,), (30,))
"""What was measured, then places, summary and states."""
SHAPES = shapes_of(SIZES)


def rows(n, seed):
    return random_inputs(n, seed, SIZES)


INPUTS, OTHERS = rows(40, 0), rows(30, 1)
BY_STATES, BY_PLACES = INPUTS.arch.states[:, 3] + INPUTS.arch.states[:, 8], INPUTS.arch.places.sum(1)


def error(forest, labels):
    return float((forest.out_of_bag - labels).square().mean())


def fitted(inputs, labels, seed=0):
    return ArchitectureForest(len(labels), inputs.shapes).fit(inputs, labels, inputs, seed)


def alone(inputs, labels, seed=0, parts=ARCH_PARTS):
    return RandomForest(len(labels), inputs.shapes, parts=parts).fit(inputs, labels, inputs, seed)


@pytest.mark.parametrize(("labels", "helps"), [(BY_STATES, True), (BY_PLACES, False)])
def test_the_better_of_two_forests_is_kept(labels, helps):
    forest = fitted(INPUTS, labels)
    both = [alone(INPUTS, labels), alone(INPUTS, labels, parts=ARCH_PARTS[:2])]
    errors = [error(one, labels) for one in both]
    assert (errors[0] < 0.9 * errors[1]) if helps else (errors[1] < 0.9 * errors[0])
    kept = both[0] if helps else both[1]
    assert torch.equal(forest(OTHERS), kept(OTHERS))
    assert torch.equal(forest.out_of_bag, kept.out_of_bag)


def test_what_was_measured_is_not_read():
    forest, new = fitted(INPUTS, BY_STATES), rows(30, 2)
    measured = changed(OTHERS, tokens=new.tokens, scores=new.scores, blocks=new.blocks)
    assert torch.equal(forest(OTHERS), forest(measured))
    assert not torch.equal(forest(OTHERS), forest(changed(OTHERS, states=new.arch.states)))


def test_without_columns_of_states_there_is_one_forest():
    inputs, others = (changed(t, states=t.arch.states[:, :0]) for t in (INPUTS, OTHERS))
    forest = fitted(inputs, BY_PLACES, 3)
    assert torch.equal(forest(others), alone(inputs, BY_PLACES, 3)(others))


@pytest.mark.parametrize("labels", [BY_STATES, BY_PLACES])
def test_the_state_is_all_there_is_to_save(labels):
    forest, loaded = fitted(INPUTS, labels), ArchitectureForest(40, SHAPES)
    loaded.load_state_dict(forest.state_dict())
    loaded.check(SHAPES)
    assert torch.equal(loaded(OTHERS), forest(OTHERS))


def test_fitting_repeats_and_leaves_the_random_states_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, other = (fitted(INPUTS, BY_STATES, 5) for _ in range(2))
    assert torch.equal(one(OTHERS), other(OTHERS))
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
