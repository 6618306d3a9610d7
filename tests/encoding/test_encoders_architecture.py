"""The architecture encoding as model input: which columns enter, how they are scaled, what is refused."""

import math

import numpy as np
import pytest
import torch
from helpers import TABLE

from parzc.datasets import get_space
from parzc.encoding.architecture import encode_archs
from parzc.encoding.inputs import ARCH_PARTS
from parzc.encoding.tokens import TokenConfig, TokenEncoder
from parzc.errors import InputError

SPACE, TINY = get_space("nb101"), get_space("autoformer-tiny")
ARCHS = SPACE.sample(40, 0)
SMALL = [arch for arch in ARCHS if len(SPACE.graph(arch).operations) < 7]
POOL, OTHERS = TABLE[:30].rename(ARCHS[:30]), TABLE[30:40].rename(ARCHS[30:])
ALIKE = TABLE[:5].rename([ARCHS[0]] * 5)


def encoder(space=SPACE, **sizes):
    config = TokenConfig(**sizes)
    return TokenEncoder(("snip",), ("params",), blocks=("trainability",), arch_space=space, config=config)


def test_the_architecture_encoding_changes_no_other_input():
    plain, with_arch = encoder(None).fit(POOL), encoder().fit(POOL)
    expected, found = plain.transform(OTHERS).parts, with_arch.transform(OTHERS).parts
    assert (*expected, *ARCH_PARTS) == tuple(found) and len(found) == 6
    for name, values in expected.items():
        np.testing.assert_array_equal(values, found[name])
    assert {x.dtype for x in found.values()} == {torch.float32} and with_arch.definitions == plain.definitions


def test_columns_have_mean_zero_and_spread_one_where_they_were_fitted():
    for columns in encoder().fit(POOL).transform(POOL).arch.parts.values():
        np.testing.assert_allclose(columns.double().numpy().mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(columns.double().numpy().std(0), 1, atol=1e-6)


def scaled(name, pool, archs, vertices=7):
    """Column by column: left out where the pool has one value or a state was there before, otherwise its z-score."""
    known, asked = (encode_archs(named, SPACE, vertices)[name].T.tolist() for named in (pool, archs))
    out, there = [], []
    for values, others in zip(known, asked, strict=True):
        mean = math.fsum(values) / len(values)
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        if len(set(values)) > 1 and not (name == "states" and values in there):
            out.append([(value - mean) / spread for value in others])
            there.append(values)
    return np.array(out).T


def test_constant_columns_are_left_out_and_others_scaled_as_they_were_fitted():
    fitted = encoder().fit(POOL)
    for table, archs in ((POOL, ARCHS[:30]), (OTHERS, ARCHS[30:])):
        places, summary, states = fitted.transform(table).arch.parts.values()
        np.testing.assert_allclose(places, scaled("places", ARCHS[:30], archs), atol=2e-6)
        np.testing.assert_allclose(summary, scaled("summary", ARCHS[:30], archs), atol=2e-6)
        np.testing.assert_allclose(states, scaled("states", ARCHS[:30], archs), atol=2e-6)
    # All cells have one input, which is the first vertex, one output, and no edge against the order.
    assert places.shape[1] < 7 * 5 + 21 and 0 < summary.shape[1] <= 2 * 5 + 5 - 4 and 0 < states.shape[1] <= 6 * 4


def test_vertices_beyond_those_of_the_largest_graph_that_was_fitted_are_cut():
    widest = max(len(SPACE.graph(arch).operations) for arch in SMALL)
    assert len(SMALL) > 1 and widest < 7
    fitted = encoder().fit(TABLE[: len(SMALL)].rename(SMALL))
    assert fitted.arrays["vertices"].tolist() == [widest]
    for name, found in fitted.transform(OTHERS).arch.parts.items():
        np.testing.assert_allclose(found, scaled(name, SMALL, ARCHS[30:], widest), atol=5e-6)


def test_the_vertices_of_very_large_graphs_are_cut():
    fitted = encoder(vertices=4).fit(POOL)
    assert fitted.arrays["vertices"].tolist() == [4]
    for name, found in fitted.transform(OTHERS).arch.parts.items():
        np.testing.assert_allclose(found, scaled(name, ARCHS[:30], ARCHS[30:], 4), atol=2e-6)


def test_states_that_stand_still_enter_once():
    archs = TINY.sample(30, 0)
    fitted = encoder(TINY).fit(TABLE[:30].rename(archs))
    states = fitted.transform(TABLE[:30].rename(archs)).arch.states.numpy()
    assert len(np.unique(states, axis=1).T) == states.shape[1]
    # Heads and MLP ratios alternate, so that about half of the columns are those of the vertex before.
    columns = encode_archs(archs, TINY, int(fitted.arrays["vertices"][0]))["states"]
    assert states.shape[1] < 0.6 * (columns != columns[:1]).any(0).sum()


def test_where_all_architectures_are_alike_there_is_no_column():
    fitted = encoder().fit(ALIKE)
    assert [x.shape for x in fitted.transform(OTHERS).arch.parts.values()] == [(10, 0), (10, 0), (10, 0)]
    restored(fitted.arrays, SHAPES | dict.fromkeys(ARCH_PARTS, (0,)))


def test_rows_that_are_no_architectures_are_refused():
    with pytest.raises(InputError, match=r"has no graph: 'arch-0' is not .*; name each row by its architecture$"):
        encoder().fit(TABLE)
    with pytest.raises(InputError, match=r"has no graph: 'arch-0' is not .*; name each row by its architecture$"):
        encoder().fit(POOL).transform(TABLE)


# what a file may hold


FITTED = encoder().fit(POOL)
SHAPES = FITTED.transform(POOL).shapes


def restored(arrays, shapes):
    other = encoder()
    other.restore(FITTED.definitions, arrays, shapes)
    return other


def test_what_was_fitted_is_all_that_is_needed():
    assert set(FITTED.arrays) == {"cells", "scores", "blocks", "vertices", *ARCH_PARTS}
    other = restored({name: values.copy() for name, values in FITTED.arrays.items()}, SHAPES)
    for name, values in FITTED.transform(OTHERS).parts.items():
        np.testing.assert_array_equal(values, other.transform(OTHERS).parts[name])


def put(row, value):
    def change(values):
        values = values.copy()
        values[row, 1] = value
        return values

    return change


DAMAGES = {
    "a row less": lambda values: values[:2],
    "a row more": lambda values: np.concatenate([values, values[:1]]),
    "a column less": lambda values: values[:, 1:],
    "a column more": lambda values: np.concatenate([values, values[:, :1]], 1),
    "one dimension": np.ravel,
    "single precision": lambda values: values.astype(np.float32),
    "no number as index": put(0, math.nan),
    "an index below": put(0, -1.0),
    "an index above": put(0, 1e6),
    "an index between": put(0, 1.5),
    "no number as mean": put(1, math.nan),
    "infinite mean": put(1, -math.inf),
    "no spread": put(2, 0.0),
    "negative spread": put(2, -1.0),
    "infinite spread": put(2, math.inf),
    "no number as spread": put(2, math.nan),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ARCH_PARTS)
def test_damaged_scales_are_refused(name, damage):
    values = DAMAGES[damage](FITTED.arrays[name])
    with pytest.raises(
        ValueError, match=rf"^'{name}' of the encoder (does not fit the inputs|is not that of architectures of)"
    ):
        restored({**FITTED.arrays, name: values}, SHAPES)


@pytest.mark.parametrize("name", ARCH_PARTS)
def test_the_first_index_that_no_column_has_is_refused(name):
    columns, values = encode_archs((), SPACE, 7)[name].shape[1], FITTED.arrays[name].copy()
    values[0, -1] = columns - 1
    restored({**FITTED.arrays, name: values}, SHAPES)
    values[0, -1] = columns
    with pytest.raises(ValueError, match=f"^'{name}' of the encoder is not that of architectures of this space$"):
        restored({**FITTED.arrays, name: values}, SHAPES)


@pytest.mark.parametrize(
    ("vertices", "sentence"),
    [
        ([0.0], "has no vertices, or too many"),
        ([-7.0], "has no vertices, or too many"),
        ([65.0], "has no vertices, or too many"),
        ([1e300], "has no vertices, or too many"),
        ([6.0], "'places' of the encoder is not that of architectures of this space"),
        ([6.5], "where a whole number should be"),
        ([math.nan], "where a whole number should be"),
        ([math.inf], "where a whole number should be"),
        ([7.0, 7.0], "where a whole number should be"),
        ([], "where a whole number should be"),
    ],
)
def test_a_damaged_number_of_vertices_is_refused(vertices, sentence):
    with pytest.raises(ValueError, match=sentence):
        restored({**FITTED.arrays, "vertices": np.array(vertices, dtype=np.float64)}, SHAPES)


@pytest.mark.parametrize(
    "shapes",
    [
        {name: SHAPES[name] for name in list(SHAPES)[:3]},
        {name: SHAPES[name] for name in list(SHAPES)[:4]},
        {name: SHAPES[name] for name in list(SHAPES)[:5]},
        SHAPES | {"more": (1,)},
    ],
)
def test_other_inputs_are_refused(shapes):
    with pytest.raises(ValueError, match=r"^the encoder does not fit the inputs$"):
        restored(FITTED.arrays, shapes)
    with pytest.raises(ValueError, match=r"^the encoder does not fit the inputs$"):
        encoder(None).restore(FITTED.definitions, FITTED.arrays, SHAPES)
