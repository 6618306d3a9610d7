"""Records of named tensors: rows, batches, columns and shapes."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from made_inputs import random_inputs

from parzc.encoding.inputs import Graphs, PaddedInputs

SIZES = ((2, 3), (4,), (0,), (5,), (1,), (2,))
INPUTS = random_inputs(7, 0, SIZES)


def test_parts_are_named_in_order_those_of_the_architecture_encoding_last():
    names = ("tokens", "scores", "blocks", "places", "summary", "states")
    assert tuple(INPUTS.parts) == names and INPUTS.shapes == dict(zip(names, SIZES, strict=True))
    assert INPUTS.parts["states"] is INPUTS.arch.states and len(INPUTS) == 7
    assert tuple(random_inputs(7, 0, SIZES[:3]).parts) == names[:3]
    with pytest.raises(FrozenInstanceError):
        INPUTS.tokens = None


@pytest.mark.parametrize("rows", [slice(2, 5), [6, 0, 0], torch.tensor([3])])
def test_rows_are_taken_of_every_part(rows):
    taken = INPUTS[rows]
    assert type(taken) is type(INPUTS) and type(taken.arch) is type(INPUTS.arch)
    for name, part in INPUTS.parts.items():
        assert torch.equal(taken.parts[name], part[rows])


def test_columns_are_all_parts_flattened_side_by_side():
    flat = [*INPUTS.tokens[3].flatten(), *INPUTS.scores[3], *INPUTS.arch.parts["places"][3]]
    flat += [*INPUTS.arch.summary[3], *INPUTS.arch.states[3]]
    assert INPUTS.columns()[3].tolist() == [float(value) for value in flat]
    few = INPUTS.columns(("states", "scores"), torch.float64)
    assert few.dtype == torch.float64 and few[3].tolist() == [
        *INPUTS.arch.states[3].tolist(),
        *INPUTS.scores[3].tolist(),
    ]
    with pytest.raises(KeyError, match="nodes"):
        INPUTS.columns(("nodes",))


def test_flags_of_graphs_are_columns_of_zeros_and_ones():
    graphs = Graphs(
        torch.ones(1, 2, 2).bool(), torch.tensor([[[False, True], [False, False]]]), torch.ones(1, 2).bool()
    )
    inputs = PaddedInputs(torch.tensor([[0.5, 2.0]]), graphs)
    assert inputs.columns().tolist() == [[0.5, 2.0, 1, 1, 1, 1, 0, 1, 0, 0, 1, 1]]
    assert inputs.shapes == {"nodes": (2,), "operations": (2, 2), "adjacency": (2, 2), "mask": (2,)}


@pytest.mark.parametrize(
    ("numbers", "most", "sizes"),
    [(2**22, 4096, [7]), (2**22, 3, [3, 3, 1]), (12, 4096, [2, 2, 2, 1]), (1, 4096, [1] * 7)],
)
def test_batches_hold_all_rows_in_order_and_few_numbers(numbers, most, sizes):
    """A row of tokens, the largest part, holds 6 numbers."""
    batches = list(INPUTS.batches(numbers, most))
    assert [len(batch) for batch in batches] == sizes
    for name, part in INPUTS.parts.items():
        assert torch.equal(torch.cat([batch.parts[name] for batch in batches]), part)
