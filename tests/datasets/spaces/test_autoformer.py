"""AutoFormer spaces: published counts, tables, notation, mutation."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from parzc.datasets import get_space, load_table
from parzc.errors import InputError

NAMES = ("autoformer-tiny", "autoformer-small", "autoformer-base")
SPACES = {name: get_space(name) for name in NAMES}
TINY = SPACES["autoformer-tiny"]
every_space = pytest.mark.parametrize("name", NAMES)


def arch(width, ratios, heads):
    ratios, heads = ("/".join(map(str, values)) for values in (ratios, heads))
    return f"embed_dim={width}, mlp_ratio={ratios}, num_heads={heads}"


AUTOFORMER_T = arch(192, [3.5, 3.5, 3, 3.5, 3, 3, 4, 4, 3.5, 4, 3.5, 4, 3.5], [3] * 10 + [4, 3, 3])
PUBLISHED = [
    (AUTOFORMER_T, 5_867_944),
    (arch(192, [3.5] * 12, [3] * 12), 5_366_056),
    (arch(216, [4] * 13, [3] * 13), 7_570_480),
    (arch(240, [4] * 14, [4] * 14), 10_517_272),
]


def layers_of(network):
    return {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def built(space, name, task):
    """The network without weights."""
    with torch.device("meta"):
        return space.network(name, task)


@pytest.mark.parametrize(("name", "params"), PUBLISHED)
def test_published_counts(name, params):
    assert TINY.cost(name).params == params
    assert sum(p.numel() for p in built(TINY, name, "imagenet").parameters()) == params


@every_space
def test_parameters_of_the_published_tables(name, data_dir):
    """All 1,001 rows of each, to the printed digits."""
    table = load_table(data_dir / f"{name.replace('-', '_')}.csv.gz", space=SPACES[name], target="imagenet_top1")
    printed = table.column("params_M")
    assert len(table) == 1_001
    for row, millions in zip(table.archs, printed, strict=True):
        assert float(f"{SPACES[name].cost(row).params / 1e6:.6g}") == millions


def test_vit_bench_101(data_dir):
    table = load_table(data_dir / "vitbench_autoformer.json", space=TINY, target="c100_base_acc")
    assert len(table) == 100
    assert table.archs[0] == arch(
        192, [3.5, 4, 3.5, 4, 3.5, 3.5, 4, 3.5, 4, 4, 4, 3.5], [4, 4, 3, 4, 3, 3, 4, 4, 3, 3, 3, 4]
    )
    assert table.labels[0] == 68.66 and table.column("flower_kd_acc")[1] == 69.0194


def test_a_file_of_vit_bench_101(tmp_path):
    record = {
        "arch": {"hidden_dim": 216, "mlp_ratio": [3.5] * 12, "depth": 12, "num_heads": [3] * 12},
        "accuracy": 70.5,
    }
    path = tmp_path / "table.json"
    path.write_text(json.dumps([record]))
    table = load_table(path, space=TINY)
    assert table.archs == (arch(216, [3.5] * 12, [3] * 12),) and table.labels.tolist() == [70.5]
    for wrong, message in (
        ([record, {"accuracy": 1}], r"record 1: KeyError \('arch'\) where a record of ViT-Bench-101 has arch"),
        ([record | {"arch": record["arch"] | {"depth": 13}}], "record 0: layer_num is 13, but there are 12 layers"),
        ({}, "holds no list of records"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=message):
            load_table(path, space=TINY)
    path.write_text("[")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        load_table(path, space=TINY)


def test_columns_spell_an_architecture():
    row = {"layer_num": "12", "embed_dim": "192", "mlp_ratio": "/".join(["4.0"] * 12), "num_heads": "/".join("3" * 12)}
    assert TINY.spell(row) == arch(192, [4] * 12, [3] * 12)
    with pytest.raises(InputError, match="layer_num is 14, but there are 12 layers"):
        TINY.spell(row | {"layer_num": "14"})


@every_space
def test_cost_is_that_of_the_network_as_built(name):
    space = SPACES[name]
    for seed, task in enumerate(("imagenet@64", "chaoyang")):
        (sample,) = space.sample(1, seed)
        cost, network, macs = space.cost(sample, task), built(space, sample, task).to_empty(device="cpu"), []
        assert cost.params == sum(p.numel() for p in network.parameters())
        for layer in layers_of(network).values():
            layer.register_forward_hook(
                lambda m, _, out, macs=macs: macs.append(out[0].numel() * (m.weight[0].numel() + 1))
            )
        with torch.no_grad():
            network(torch.zeros(1, *space.task(task).input_shape))
        assert (cost.macs, cost.n_layers) == (sum(macs), len(layers_of(network)))


@every_space
def test_slots_are_the_layers_of_the_deepest_network(name):
    space = SPACES[name]
    deepest = str(space.parse(space.sample(1, 0)[0]))
    shape = space.parse(deepest)
    deepest = arch(shape.embed_dim, shape.mlp_ratio[:1] * max(space.depths), shape.num_heads[:1] * max(space.depths))
    layers = layers_of(built(space, deepest, "imagenet@64"))
    assert [slot.name for slot in space.slots] == list(layers)
    places = {slot.name: (slot.edge, slot.stage, slot.depth) for slot in space.slots}
    assert places["layers.3.attention.qkv"] == ("layer 3", 0, 4)
    assert places["layers.3.fc2"] == ("layer 3", 3, 4)
    assert places["embedding.patches"] == ("patches", 0, 0)


def test_networks_compute_and_learn_at_every_resolution():
    (sample,) = TINY.sample(1, 0)
    for task, classes in (("imagenet@64", 1000), ("imagenet@112", 1000)):
        network, state = TINY.network(sample, task, seed=1), torch.get_rng_state()
        again = TINY.network(sample, task, seed=1).state_dict()
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(again[name], value) for name, value in network.state_dict().items())
        x = torch.randn(1, *TINY.task(task).input_shape, generator=torch.Generator().manual_seed(0))
        logits = network(x)
        logits.square().sum().backward()
        assert logits.shape == (1, classes)
        assert all(p.grad.isfinite().all() and p.grad.any() for p in network.parameters())


shapes = st.builds(
    lambda width, layers: arch(width, [r for r, _ in layers], [h for _, h in layers]),
    st.sampled_from(TINY.embed_dims),
    st.lists(st.tuples(st.sampled_from((3, 3.5, 4)), st.sampled_from(TINY.heads)), min_size=12, max_size=14),
)


@settings(deadline=None)
@given(shapes)
def test_any_architecture_round_trips(name):
    assert str(TINY.parse(name)) == TINY.canonical(name) == name
    graph = TINY.graph(name)
    assert set(graph.operations) <= set(TINY.operations)
    assert {(int(i), int(j)) for i, j in np.argwhere(graph.adjacency)} == {
        (i, i + 1) for i in range(len(graph.operations) - 1)
    }
    shape = TINY.parse(name)
    assert graph.operations[:4] == (
        "input", f"{shape.embed_dim} channels", f"{shape.num_heads[0]} heads", f"MLP ratio {shape.mlp_ratio[0]:g}",
    )  # fmt: skip


def test_numbers_are_written_in_one_way():
    assert TINY.canonical(PUBLISHED[3][0].replace("ratio=4/4", "ratio=4.0/4")) == PUBLISHED[3][0]


GOOD = PUBLISHED[1][0]
REFUSED = [
    (GOOD.replace("192", "256"), "embed_dim 256 is not in 192, 216, 240"),
    (GOOD.replace("/3.5", "", 1), "11 values of mlp_ratio, but 12 of num_heads; give one for each layer"),
    (GOOD.replace("3.5", "2.5", 1), "mlp_ratio 2.5 is not in 3, 3.5, 4"),
    (GOOD.replace("num_heads=3", "num_heads=5"), "num_heads 5 is not in 3, 4"),
    (arch(192, [4] * 11, [3] * 11), "number of layers 11 is not in 12, 13, 14"),
    (GOOD + "/", "write it like 'embed_dim=192"),
    ("", "write it like 'embed_dim=192"),
    (7, "'7' is not an arch of autoformer-tiny"),
]


@pytest.mark.parametrize(("wrong", "message"), REFUSED)
def test_what_is_no_architecture_is_refused_with_the_reason(wrong, message):
    for method in (TINY.parse, TINY.canonical, TINY.graph, TINY.network, TINY.cost):
        with pytest.raises(InputError, match=message):
            method(wrong)


@settings(deadline=None)
@given(st.text(alphabet="embd_i=192, mlprato3.5/nuhs", max_size=60))
def test_other_text_is_refused(text):
    with pytest.raises(InputError):
        TINY.parse(text)


@every_space
def test_a_mutation_differs_in_one_decision(name):
    space = SPACES[name]
    (sample,) = space.sample(1, seed=3)
    before, kinds = space.parse(sample), set()
    for seed in range(200):
        after = space.parse(space.mutate(sample, seed))
        assert space.mutate(sample, seed) == space.mutate(sample, seed)
        shared = min(len(before.num_heads), len(after.num_heads))
        differences = (
            before.embed_dim != after.embed_dim,
            len(before.num_heads) != len(after.num_heads),
            sum(a != b for a, b in zip(before.mlp_ratio[:shared], after.mlp_ratio[:shared], strict=True)),
            sum(a != b for a, b in zip(before.num_heads[:shared], after.num_heads[:shared], strict=True)),
        )
        assert sum(differences) == 1
        kinds.add(differences.index(1))
    assert kinds == {0, 1, 2, 3}


def test_the_number_of_subnets():
    assert TINY.size == 3 * (4**12 + 4**13 + 4**14)
    assert SPACES["autoformer-base"].size == 3 * (6**14 + 6**15 + 6**16)
    drawn = [TINY.parse(sample) for sample in TINY.sample(60, seed=1)]
    assert {len(shape.num_heads) for shape in drawn} == {12, 13, 14}
    assert {shape.embed_dim for shape in drawn} == {192, 216, 240}
    assert {ratio for shape in drawn for ratio in shape.mlp_ratio} == {3.5, 4.0}
    with pytest.raises(InputError, match="1,056,964,608 architectures, too many to list"):
        TINY.archs()
