"""Model inputs against slow loops over hand-made features."""

import math

import numpy as np
import pytest
import torch

from parzc.datasets import Slot, get_space
from parzc.encoding.layouts import node_matrix
from parzc.encoding.padded import PaddedEncoder
from parzc.encoding.scaling import RankGauss
from parzc.encoding.tokens import TokenConfig, TokenEncoder
from parzc.errors import InputError
from parzc.features import FeatureTable, NodeFeatures

SLOTS = (
    Slot("stem", "stem", 0, 0),
    Slot("c0.a", "0-1", 0, 0),
    Slot("c0.b", "1-2", 0, 0),
    Slot("c1.a", "0-1", 0, 1),
    Slot("c2.a", "0-1", 1, 2),
    Slot("c2.b", "1-2", 1, 2),
    Slot("head", "classifier", 1, 3),
)
SLOT = {slot.name: slot for slot in SLOTS}
STATISTICS, SCORES = ("snip", "synflow", "plain"), ("params", "synflow")
DEFINITIONS = {
    name: {"inputs": "data", "task": "cifar10", "definition": 1} for name in ("snip", "synflow", "plain", "params")
}


def network(row, rng, names, **changes):
    """The features of one network with the given nodes, and other values where they are named."""
    count = len(names)
    statistics = {
        "snip": rng.lognormal(sigma=3, size=count),
        "synflow": rng.normal(size=count),
        "plain": rng.normal(size=count),
    }
    scores = {"params": float(rng.integers(1, 5)), "synflow": rng.normal()}
    weights = {name: int(rng.integers(2, 9)) for name in names}
    for name, values in changes.items():
        statistics[name] = values
    return row(weights, scores, **statistics)


@pytest.fixture
def table(row):
    """Seven networks: other nodes, zero, minus infinity, a network whose synaptic flow is missing."""
    rng = np.random.default_rng(0)
    full = [slot.name for slot in SLOTS]
    rows = [
        network(row, rng, full),
        network(row, rng, full),
        network(row, rng, ["stem", "c0.a", "c1.a", "c2.a", "head"]),
        network(row, rng, ["stem", "c0.b", "head"], snip=[1.0, 0.0, 3.0]),
        network(row, rng, ["stem", "c0.a", "c0.b", "head"], synflow=[-math.inf, 1.0, 2.0, 3.0]),
        network(row, rng, ["stem", "c1.a", "head"], synflow=[math.nan] * 3),
        network(row, rng, ["stem", "head"]),
    ]
    rows[5].scores["synflow"] = math.nan
    return FeatureTable.of(rows, [f"arch-{i}" for i in range(7)], DEFINITIONS)


def logarithm(table, statistic, node):
    """The logarithm of the mean size of the elements of one node."""
    value, weights = float(table.statistics[statistic][node]), int(table.fields[node, 1])
    if statistic == "synflow":
        return value - math.log(weights)
    return math.log(abs(value) / weights) if value else -math.inf


def places_by_name(table, node, _):
    slot = SLOT[table.names[table.node[node]]]
    return slot.edge, slot.stage


def tokens_by_loop(fitted, table, edges, stages, place):
    """What `TokenEncoder` should give: means over the nodes of a place, scaled, and whether there are any."""

    def cells(table):
        values = np.full((len(table), len(edges), stages, len(STATISTICS)), np.nan)
        present = np.zeros(values.shape, dtype=bool)
        for i in range(len(table)):
            for e, edge in enumerate(edges):
                for stage in range(stages):
                    nodes = [
                        node
                        for node in range(table.offsets[i], table.offsets[i + 1])
                        if place(table, node, i) == (edge, stage)
                    ]
                    for k, statistic in enumerate(STATISTICS):
                        if nodes:
                            present[i, e, stage, k] = True
                            values[i, e, stage, k] = np.mean([logarithm(table, statistic, node) for node in nodes])
        return values, present

    values, present = cells(table)
    known, where = cells(fitted)
    out = np.zeros((len(table), len(edges), stages * len(STATISTICS) + 1))
    for e in range(len(edges)):
        for stage in range(stages):
            for k in range(len(STATISTICS)):
                here, there = present[:, e, stage, k], where[:, e, stage, k]
                if here.any() and there.any():
                    scaling = RankGauss().fit(known[there, e, stage, k][:, None])
                    scaled = scaling.transform(values[here, e, stage, k][:, None])[:, 0]
                    out[here, e, stage * len(STATISTICS) + k] = scaled
        out[:, e, -1] = present[:, e].any((1, 2))
    return out


def test_tokens_are_those_of_a_slow_loop(table):
    encoder = TokenEncoder(STATISTICS, SCORES, SLOTS).fit(table)
    tokens, scores, blocks = encoder.transform(table).parts.values()
    assert tokens.shape == (7, 4, 2 * 3 + 1) and scores.shape == (7, 2) and blocks.shape == (7, 0)
    assert tokens.dtype == scores.dtype == blocks.dtype == torch.float32
    expected = tokens_by_loop(table, table, ["stem", "0-1", "1-2", "classifier"], 2, places_by_name)
    np.testing.assert_allclose(tokens, expected, atol=2e-6)
    assert len(tokens.unique()) > 25


def test_tokens_of_other_networks_use_the_scale_that_was_fitted(table):
    encoder = TokenEncoder(STATISTICS, SCORES, SLOTS).fit(table[[0, 2, 3]])
    expected = tokens_by_loop(table[[0, 2, 3]], table, encoder.edges, 2, places_by_name)
    np.testing.assert_allclose(encoder.transform(table).tokens, expected, atol=2e-6)


def test_a_place_says_whether_it_holds_weights(table):
    tokens = TokenEncoder(STATISTICS, SCORES, SLOTS).fit(table).transform(table).tokens
    assert tokens[:, :, -1].tolist() == [
        [1, 1, 1, 1],
        [1, 1, 1, 1],
        [1, 1, 0, 1],
        [1, 0, 1, 1],
        [1, 1, 1, 1],
        [1, 1, 0, 1],
        [1, 0, 0, 1],
    ]
    assert (tokens[6, 1:3] == 0).all()


def test_scores_are_scaled_column_by_column(table):
    scores = TokenEncoder(STATISTICS, SCORES, SLOTS).fit(table).transform(table).scores
    raw = np.stack([table.scores["params"], table.scores["synflow"]], axis=1)
    np.testing.assert_allclose(scores, RankGauss().fit(raw).transform(raw), atol=1e-6)
    assert scores[5, 1] == scores[:, 1].min()


def test_a_ranker_may_do_without_scores(table):
    inputs = TokenEncoder(STATISTICS, (), SLOTS).fit(table).transform(table)
    expected = TokenEncoder(STATISTICS, SCORES, SLOTS).fit(table).transform(table).tokens
    np.testing.assert_array_equal(inputs.tokens, expected)
    assert inputs.scores.shape == (7, 0)


def test_sizes_are_settings(table):
    config = TokenConfig(reduction="sum", quantiles=9, positions=3)
    encoder = TokenEncoder(STATISTICS, SCORES, config=config).fit(table)
    assert encoder.edges == ["depth 0/3", "depth 1/3", "depth 2/3"]
    inputs = encoder.transform(table)
    assert inputs.tokens.shape == (7, 3, 4) and encoder.arrays["cells"].shape == (9, 9)
    raw = np.stack([table.scores[name] for name in SCORES], axis=1)
    np.testing.assert_allclose(inputs.scores, RankGauss(9).fit(raw).transform(raw), atol=1e-6)
    # Three nodes, of which each third holds one: the logarithm of a sum is that of the plain value.
    (snip,) = np.log(np.abs(table.statistics["snip"][table.row == 5]))[None]
    cells, present = encoder._cells(table)
    np.testing.assert_allclose(cells[5, :, 0, 0], snip, rtol=1e-6)
    assert present[5].all()
    few = TokenEncoder(("snip",), (), SLOTS, BLOCKS, config=TokenConfig(block_positions=2))
    assert few.fit(blocky([4, 3])).transform(blocky([4, 3])).blocks.shape == (2, 4)


@pytest.mark.parametrize("name", ["quantiles", "positions", "block_positions", "vertices"])
def test_sizes_that_cannot_be_are_refused(name):
    for value in (0, 4097):
        with pytest.raises(InputError, match=f"^{name} cannot be {value}; choose 1 to 4096$"):
            TokenConfig(**{name: value})


def test_networks_of_no_known_space_get_a_token_for_each_eighth(table):
    def place(table, node, i):
        nodes = table.offsets[i + 1] - table.offsets[i]
        return f"depth {8 * (node - table.offsets[i]) // nodes}/8", 0

    encoder = TokenEncoder(STATISTICS, SCORES).fit(table)
    tokens = encoder.transform(table).tokens
    assert encoder.edges == [f"depth {i}/8" for i in range(8)]
    assert tokens.shape == (7, 8, 4)
    np.testing.assert_allclose(tokens, tokens_by_loop(table, table, encoder.edges, 1, place), atol=2e-6)
    # Seven nodes fill the eighths 0, 1, 2, 3, 4, 5, 6; two fill 0 and 4.
    assert tokens[0, :, -1].tolist() == [1, 1, 1, 1, 1, 1, 1, 0]
    assert tokens[6, :, -1].tolist() == [1, 0, 0, 0, 1, 0, 0, 0]


def test_the_places_of_nb201_are_edges_and_fixed_parts():
    encoder = TokenEncoder(("snip",), (), get_space("nb201").slots)
    edges = {"0-1", "0-2", "1-2", "0-3", "1-3", "2-3"}
    fixed = {"stem", "reduction_a", "reduction_b", "reduction_shortcut", "classifier"}
    assert set(encoder.edges) == edges | fixed and len(encoder.edges) == 11
    assert encoder.stages == 3


@pytest.mark.parametrize("make", [lambda: PaddedEncoder(STATISTICS), lambda: TokenEncoder(STATISTICS, SCORES, SLOTS)])
def test_a_row_does_not_depend_on_the_others(table, make):
    encoder = make().fit(table)
    whole = encoder.transform(table)
    for rows in ([6, 0], [3], [5, 4, 5]):
        for name, part in encoder.transform(table[rows]).parts.items():
            np.testing.assert_array_equal(part, whole.parts[name][rows])


@pytest.mark.parametrize("slots", [SLOTS, ()])
def test_inputs_are_finite_whatever_was_missing(table, slots):
    for fitted in (table, table[[5]], table[[3, 6]]):
        inputs = TokenEncoder(STATISTICS, SCORES, slots).fit(fitted).transform(table)
        assert inputs.tokens.isfinite().all() and inputs.scores.isfinite().all()
    assert PaddedEncoder(STATISTICS).fit(table).transform(table).nodes.isfinite().all()


def test_padded_is_the_min_max_of_the_nodes_in_order(table):
    inputs = PaddedEncoder(STATISTICS).fit(table).transform(table).nodes
    matrix = node_matrix(table, STATISTICS, layout="padded", encoding="minmax")
    assert inputs.shape == (7, 3 * 7) and inputs.dtype == torch.float32
    np.testing.assert_array_equal(inputs, np.nan_to_num(matrix).reshape(7, -1).astype(np.float32))
    # Network 3 has the plain statistic of three nodes behind its two others and four zeros after each.
    plain = table.statistics["plain"][table.row == 3] / table.fields[table.row == 3, 1]
    expected = (plain - plain.min()) / (plain.max() - plain.min())
    np.testing.assert_allclose(inputs[3, 14:], [*expected, 0, 0, 0, 0], atol=1e-6)
    assert (inputs[5, 7:14] == 0).all()


@pytest.mark.parametrize(("fitted", "width"), [([6], 2), ([2, 3], 5), ([0], 7)])
def test_the_width_is_that_of_the_longest_network_of_the_fit(table, fitted, width):
    encoder = PaddedEncoder(STATISTICS).fit(table[fitted])
    inputs = encoder.transform(table).nodes
    assert inputs.shape == (7, 3 * width)
    matrix = node_matrix(table, STATISTICS, layout="padded", encoding="minmax")[:, :, :width]
    np.testing.assert_allclose(inputs, np.nan_to_num(matrix).reshape(7, -1), atol=1e-6)


def test_the_width_may_be_given(table):
    inputs = PaddedEncoder(STATISTICS, width=9).fit(table[[6]]).transform(table).nodes
    matrix = node_matrix(table, STATISTICS, layout="padded", encoding="minmax", width=9)
    np.testing.assert_allclose(inputs, np.nan_to_num(matrix).reshape(7, -1), atol=1e-6)


def changed(table, name, **definition):
    definitions = {**table.definitions, name: {**table.definitions[name], **definition}}
    return FeatureTable(**{**table.__dict__, "definitions": definitions})


ENCODERS = pytest.mark.parametrize("make", [PaddedEncoder, lambda names: TokenEncoder(names, ("params",), SLOTS)])


@ENCODERS
def test_features_of_another_definition_are_refused(table, make):
    encoder = make(("snip", "synflow")).fit(table)
    sentence = (
        r"^'synflow' of these features has task 'cifar100', but the ranker was trained on 'cifar10'; "
        r"extract the features with the same definitions$"
    )
    with pytest.raises(InputError, match=sentence):
        encoder.transform(changed(table, "synflow", task="cifar100"))
    with pytest.raises(InputError, match=r"^'snip' of these features has definition 2, but .* trained on 1;"):
        encoder.transform(changed(table, "snip", definition=2))


def test_the_definition_of_a_score_counts_too(table):
    encoder = TokenEncoder(("snip",), ("params",), SLOTS).fit(table)
    with pytest.raises(InputError, match=r"^'params' of these features has inputs 'ones', but"):
        encoder.transform(changed(table, "params", inputs="ones"))


def test_definitions_of_what_does_not_enter_do_not_matter(table):
    encoder = TokenEncoder(("snip",), ("params",), SLOTS).fit(table)
    assert list(encoder.definitions) == ["snip", "params"]
    other = encoder.transform(changed(table, "plain", task="cifar100"))
    np.testing.assert_array_equal(other.tokens, encoder.transform(table).tokens)


def test_where_no_definitions_were_recorded_those_of_the_registry_hold(table):
    bare = FeatureTable(**{**table.__dict__, "definitions": {}})
    encoder = PaddedEncoder(("snip",)).fit(bare)
    assert encoder.definitions["snip"] == {
        "inputs": "data", "labels": True,
        "weights": "own", "batch_norm": "batch", "scale": "linear", "elements": "weights",
        "definition": 1,
    }  # fmt: skip
    expected = PaddedEncoder(("snip",)).fit(table).transform(table).nodes
    np.testing.assert_array_equal(encoder.transform(bare).nodes, expected)


@ENCODERS
def test_a_missing_statistic_is_named(table, make):
    sentence = (
        r"^the features lack the statistic 'fisher', which the ranker reads; extract it, too \(proxies=\['fisher'\]\)$"
    )
    with pytest.raises(InputError, match=sentence):
        make(("snip", "fisher")).fit(table)
    encoder = make(("snip", "plain")).fit(table)
    less = {name: table.statistics[name] for name in ("snip", "synflow")}
    with pytest.raises(InputError, match=r"^the features lack the statistic 'plain', which the ranker reads; "):
        encoder.transform(FeatureTable(**{**table.__dict__, "statistics": less}))


def test_a_missing_proxy_is_named(table):
    with pytest.raises(InputError, match=r"^the features lack the proxy 'flops', which the ranker reads; "):
        TokenEncoder(("snip",), ("params", "flops"), SLOTS).fit(table)


def test_a_node_that_fills_no_slot_is_named(table):
    with pytest.raises(InputError, match=r"^node 'head' fills no slot of this space"):
        TokenEncoder(STATISTICS, SCORES, SLOTS[:-1]).fit(table)


# block statistics

BLOCKS = ("expressivity", "trainability")


def blocky(counts, seed=0):
    """Networks of a stem and as many blocks as said, with both block statistics."""
    rng = np.random.default_rng(seed)
    rows = [
        NodeFeatures(
            nodes=("stem",),
            kinds=("conv2d",),
            fields=np.array([[0, 4, 1, 40]]),
            statistics={"snip": np.array([1.0])},
            scores={},
            blocks=tuple(f"block-{i}" for i in range(count)),
            block_statistics={name: rng.normal(size=count).astype(np.float32) for name in BLOCKS},
        )
        for count in counts
    ]
    return FeatureTable.of(rows)


def blocks_of(fitted, table, blocks=BLOCKS):
    return TokenEncoder(("snip",), (), SLOTS, blocks).fit(fitted).transform(table).blocks.numpy()


def placed(table, positions, blocks=BLOCKS):
    """Position `p` of `positions` takes block `floor(p * count / positions)`, statistic after statistic."""
    out = np.full((len(table), positions, len(blocks)), np.nan)
    for i in range(len(table)):
        start, count = table.block_offsets[i], table.block_offsets[i + 1] - table.block_offsets[i]
        for p in range(positions):
            for j, name in enumerate(blocks):
                if count:
                    out[i, p, j] = table.block_statistics[name][start + math.floor(p * count / positions)]
    return out.reshape(len(table), -1)


@pytest.mark.parametrize(
    ("counts", "positions"),
    [([4, 4, 4, 4], 4), ([6, 2, 3, 1, 6], 6), ([5, 0, 3, 5], 5), ([32, 40, 31, 100], 32), ([0, 1, 1], 1)],
)
def test_blocks_are_spread_over_the_positions(counts, positions):
    table = blocky(counts)
    got, raw = blocks_of(table, table), placed(table, positions)
    assert got.shape == (len(counts), 2 * positions) and got.dtype == np.float32
    np.testing.assert_allclose(got, RankGauss().fit(raw).transform(raw), atol=1e-6)


def test_the_blocks_of_a_short_network_by_hand():
    # Three networks of 4, 2 and 3 blocks; with rising values the blocks that 4 positions hold can be read off.
    table = blocky([4, 2, 3])
    values = np.array([10, 11, 12, 13, 0, 1, 20, 21, 22], dtype=np.float32)
    table = FeatureTable(**{**table.__dict__, "block_statistics": {"expressivity": values}})
    raw = np.array([[10, 11, 12, 13], [0, 0, 1, 1], [20, 20, 21, 22]], dtype=np.float64)
    np.testing.assert_array_equal(placed(table, 4, ("expressivity",)), raw)
    got = blocks_of(table, table, ("expressivity",))
    low = got.min()
    np.testing.assert_allclose(got, [[0, 0, 0, 0], [low] * 4, [-low] * 4], atol=1e-6)
    assert low < -2.5


def test_blocks_of_other_networks_use_the_positions_that_were_fitted():
    fitted, other = blocky([3, 2, 3]), blocky([7, 1, 50, 0], seed=1)
    raw = placed(other, 3)
    expected = RankGauss().fit(placed(fitted, 3)).transform(raw)
    np.testing.assert_allclose(blocks_of(fitted, other), expected, atol=1e-6)


def test_networks_without_blocks_count_as_the_smallest():
    table = blocky([3, 0, 3, 3])
    got = blocks_of(table, table)
    assert (got[1] == got.min(0)).all() and (got[1] < -2.5).all()


def test_missing_block_statistics_count_as_the_smallest():
    table = blocky([2, 2, 2, 2])
    table.block_statistics["trainability"][2:4] = math.nan
    got = blocks_of(table, table).reshape(4, 2, 2)
    assert np.isfinite(got).all() and (got[1, :, 1] < -2.5).all() and (got[1, :, 0] > -2.5).any()


def test_where_there_are_no_blocks_at_all_there_are_no_positions():
    table = blocky([0, 0])
    assert blocks_of(table, table).shape == (2, 0)
    assert blocks_of(table, blocky([3, 1])).shape == (2, 0)


def test_where_no_block_statistic_enters_there_is_no_column():
    table = blocky([3, 2])
    assert blocks_of(table, table, ()).shape == (2, 0)
    assert list(TokenEncoder(("snip",), (), SLOTS, BLOCKS).fit(table).definitions) == ["snip", *BLOCKS]


def test_a_missing_block_statistic_is_named():
    table = blocky([3, 2])
    bare = FeatureTable(**{**table.__dict__, "block_statistics": {"expressivity": np.zeros(5, dtype=np.float32)}})
    sentence = r"^the features lack the block statistic 'trainability', which the ranker reads; extract it, too "
    with pytest.raises(InputError, match=sentence):
        blocks_of(bare, bare)
    with pytest.raises(InputError, match=sentence):
        blocks_of(table, bare)
