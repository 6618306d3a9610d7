"""What every search space promises, over all of them: a new space is covered by being registered."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from parzc.datasets import Task, get_space, list_spaces
from parzc.errors import InputError
from parzc.features import extract

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "spaces.md"


def space_of_the_guide():
    """The space that the guide for newcomers builds, which must keep all promises, too."""
    code = re.search(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    names = {"__name__": "guide"}
    exec(compile(code[1], GUIDE.name, "exec"), names)
    return names["Kernels"]()


SPACES = [*map(get_space, list_spaces()), space_of_the_guide()]
METHODS = ("canonical", "graph", "network", "cost")
every_space = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


def smallest(task: Task) -> Task:
    """The task on its smallest inputs that have more than one pixel after all halvings of any space."""
    return task.resized(str(task.step * -(-64 // task.step))) if task.step and task.input_shape[1] > 64 else task


def some(space, n, seed):
    """Up to `n` archs, as many as there are."""
    return space.sample(min(n, space.size), seed)


def layers_of(network: nn.Module) -> set[str]:
    weighted = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    return {name for name, module in network.named_modules() if isinstance(module, weighted)}


@every_space
def test_samples_are_unique_seeded_and_in_the_space(space):
    n = min(30, space.size // 2)
    sample = space.sample(n, rng=1)
    assert len(set(sample)) == n
    assert sample == space.sample(n, rng=1) != space.sample(n, rng=2)
    state = np.random.get_state()[1].copy()
    for arch in sample:
        space.graph(space.canonical(arch))
    assert (np.random.get_state()[1] == state).all()


@every_space
def test_more_archs_than_there_are_cannot_be_drawn(space):
    for n in (0, space.size + 1):
        with pytest.raises(InputError, match=f"cannot draw {n} architectures from {space.name}"):
            space.sample(n, rng=0)


@every_space
def test_a_space_is_listed_whole_or_said_to_be_too_large(space):
    try:
        archs = space.archs()
    except InputError as reason:
        assert "too many to list" in str(reason)
        assert space.size > 100_000
    else:
        assert len(archs) == len(set(archs)) == space.size
        assert set(some(space, 20, 0)) <= set(archs)


@every_space
def test_a_mutation_is_seeded_in_the_space_and_another_arch(space):
    for seed, arch in enumerate(some(space, 20, 3)):
        other = space.mutate(arch, seed)
        assert other == space.mutate(arch, seed) != arch
        space.canonical(other)
    arch = space.sample(1, rng=0)[0]
    assert len({space.mutate(arch, seed) for seed in range(20)}) > 5


@every_space
def test_canonical_is_idempotent(space):
    for arch in some(space, 50, 4):
        assert space.canonical(space.canonical(arch)) == space.canonical(arch)


class Constant(nn.Module):
    """A weight-bearing layer whose weights depend on its kernel alone, so that channels do not matter."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        with torch.no_grad():
            weight = layer.weight
            weight.fill_((0.7 + 0.1 * weight[0, 0].numel()) / weight[0].numel())
            if layer.bias is not None:
                layer.bias.fill_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def evaluated(space, arch):
    """The outputs of a network with weights that know no order of vertices or channels."""
    network = space.network(arch).double().eval()
    for name, module in list(network.named_modules()):
        if name in layers_of(network):
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, Constant(module))
    shape = smallest(space.task()).input_shape
    inputs = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        return network(inputs)


@every_space
def test_the_canonical_arch_computes_the_same_function(space):
    """Within 2%: where channels do not divide evenly, nb101 lets the order of the vertices decide who gets one more."""
    archs = [arch for arch in some(space, 60, 5) if space.canonical(arch) != arch]
    archs += [other for arch in some(space, 12, 6) if space.canonical(other := space.mutate(arch, 0)) != other]
    for arch in archs[:4]:
        torch.testing.assert_close(
            evaluated(space, arch), evaluated(space, space.canonical(arch)), rtol=0.02, atol=1e-9
        )


@every_space
def test_slots_name_exactly_the_places_of_weights(space):
    names = {slot.name for slot in space.slots}
    assert len(names) == len(space.slots)
    assert all(slot.stage >= 0 and slot.depth >= 0 for slot in space.slots)
    used = set()
    with torch.device("meta"):
        for arch in some(space, 40, 7):
            layers = layers_of(space.network(arch))
            assert layers <= names, f"{arch} has layers that are no slots: {sorted(layers - names)[:3]}"
            used |= layers
    edges = {slot.edge for slot in space.slots}
    assert {slot.edge for slot in space.slots if slot.name in used} == edges, "places that no sampled network fills"


def counted(network: nn.Module, task: Task) -> tuple[int, int, int]:
    """Parameters, multiply-accumulates and layers, the second from torch's counter, which leaves biases out.

    Products of two activations, as in attention, are batched ones and do not count.
    """
    biases = []

    def note(layer, _, output):
        biases.append(0 if layer.bias is None else output.numel())

    for name in layers_of(network):
        network.get_submodule(name).register_forward_hook(note)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, *task.input_shape))
    params = sum(p.numel() for p in network.parameters())
    flops = {str(kind): count for kind, count in counter.get_flop_counts()["Global"].items()}
    return params, (sum(flops.values()) - flops.get("aten.bmm", 0)) // 2 + sum(biases), len(layers_of(network))


@every_space
def test_cost_is_that_of_the_network_as_built(space):
    archs = some(space, len(space.tasks), 8)
    with torch.device("meta"):
        for arch, task in zip(archs, space.tasks, strict=True):
            cost = space.cost(arch, task)
            network = space.network(arch, task).eval()
            assert (cost.params, cost.macs, cost.n_layers) == counted(network, space.task(task)), (arch, task)


@every_space
def test_every_task_runs_forward_and_backward(space):
    arch = max(some(space, 10, 9), key=lambda arch: -space.cost(arch).macs)
    for name in space.tasks:
        task = smallest(space.task(name))
        network = space.network(arch, task.name)
        inputs = torch.randn(2, *task.input_shape, generator=torch.Generator().manual_seed(0))
        outputs = network(inputs)
        assert outputs.shape == (2, task.classes)
        nn.functional.cross_entropy(outputs, torch.tensor([0, task.classes - 1])).backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@every_space
def test_weights_depend_on_the_seed_and_on_the_place(space):
    arch = space.sample(1, rng=10)[0]
    state = torch.get_rng_state()
    first, again, other = (space.network(arch, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    last = [name for name in first if name.endswith("weight")][-1]
    assert not torch.equal(first[last], other[last])


@every_space
def test_graphs_are_acyclic_and_labelled(space):
    assert len(set(space.operations)) == len(space.operations)
    for arch in some(space, 40, 11):
        graph = space.graph(arch)
        n = len(graph.operations)
        assert graph.adjacency.shape == (n, n) and graph.adjacency.dtype == np.bool_
        assert not np.tril(graph.adjacency).any(), "a vertex reads from itself or from a later one"
        assert set(graph.operations) <= set(space.operations)
        assert graph.operations.count("input") >= 1 and graph.operations.count("output") >= 1


@every_space
def test_nodes_of_features_fill_slots(space):
    """What is traced while the network runs has the names of the slots."""
    arch = space.sample(1, rng=12)[0]
    task = smallest(space.task())
    inputs = torch.randn(2, *task.input_shape, generator=torch.Generator().manual_seed(0))
    features = extract(space.network(arch, task.name), inputs, proxies=["l2_norm", "n_layers"])
    assert set(features.nodes) <= {slot.name for slot in space.slots}
    assert features.scores["n_layers"] == space.cost(arch).n_layers


@every_space
def test_other_things_than_archs_are_refused(space):
    for thing in ("", " ", "resnet50", None, 7, ("a",), "x" * 100_000):
        for method in METHODS:
            with pytest.raises(InputError) as caught:
                getattr(space, method)(thing)
            assert len(str(caught.value)) < 1_000
        with pytest.raises(InputError):
            space.mutate(thing, 0)


@every_space
def test_a_line_break_is_refused_or_means_nothing(space):
    arch = space.sample(1, rng=0)[0]
    try:
        same = space.canonical(arch + "\n")
    except InputError:
        return
    assert same == space.canonical(arch)


@every_space
def test_a_changed_character_is_refused_or_still_an_arch(space):
    """Nothing but `InputError` comes out of damaged notation, and what is let through is of the space."""

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def damaged(data):
        arch = data.draw(st.sampled_from(space.sample(5, rng=13)))
        place = data.draw(st.integers(0, len(arch) - 1))
        character = data.draw(st.sampled_from("0123456789:|~+-_ x()[],\x00é²"))
        for changed in (arch[:place] + character + arch[place + 1 :], arch[:place] + arch[place + 1 :]):
            try:
                canonical = space.canonical(changed)
            except InputError:
                continue
            assert space.canonical(canonical) == canonical
            space.graph(changed)

    damaged()


@every_space
def test_tables_spell_what_they_say_or_are_refused(space):
    """Columns with nonsense raise `InputError`, whatever their number."""
    assert space.columns
    if space.columns == ("arch",):
        arch = space.sample(1, rng=0)[0]
        assert space.spell({"arch": arch}) == arch
    else:
        with pytest.raises(InputError):
            space.spell(dict.fromkeys(space.columns, "nonsense"))


@every_space
def test_tasks_are_named_and_found(space):
    assert space.task() == next(iter(space.tasks.values()))
    assert space.citation
    for name, task in space.tasks.items():
        assert (task.name, space.task(name)) == (name, task)
        assert task.classes > 0 and len(task.input_shape) == 3
    with pytest.raises(InputError, match=f"{space.name} has no task 'poetry'; choose one of {next(iter(space.tasks))}"):
        space.network(space.sample(1, rng=0)[0], "poetry")
