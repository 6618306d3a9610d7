"""What every search space promises; see `SpaceContract`."""

import itertools
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from parzc.datasets import Space, get_space, missing_slots
from parzc.datasets.spaces._doors import as_space
from parzc.errors import InputError
from parzc.features import extract
from parzc.testing._networks import Shapes, counted, layers_of, outputs_of, smallest

NO_ARCHS = ("", " ", "resnet50", None, 7, ("a",), "x" * 100_000)
CHARACTERS = "0123456789:|~+-_ x()[],=\x00é²"


class SpaceContract:
    """The tests that a search space must pass; subclass it as `TestMine` and say which space.

    Attributes:
        space: a space, a subclass of `Space`, or what `get_space` takes, for example `my_space.py:MySpace`.
    """

    space: ClassVar[Space | type[Space] | str]

    @pytest.fixture
    def subject(self) -> Space:
        """The space that is tested."""
        given = self.space
        return as_space(given, given.__name__) if isinstance(given, type) else get_space(given)

    def test_it_has_a_name_and_tasks(self, subject: Space) -> None:
        assert subject.name and subject.citation, "name and citation are texts"
        assert subject.tasks, "tasks is empty: a network is built for a task; give at least one"
        assert subject.task() == next(iter(subject.tasks.values()))
        for name, task in subject.tasks.items():
            assert (task.name, subject.task(name)) == (name, task), "a task is listed under its own name"
            assert task.classes > 0 and len(task.input_shape) == 3, "inputs are (channels, height, width)"
        with pytest.raises(InputError, match=f"{subject.name} has no task 'poetry'; choose one of "):
            subject.network(subject.sample(1, 0)[0], "poetry")

    def test_samples_are_unique_seeded_and_in_the_space(self, subject: Space) -> None:
        n = max(1, min(30, subject.size // 2))
        sample = subject.sample(n, 1)
        assert len(set(sample)) == n
        assert sample == subject.sample(n, 1) == subject.sample(n, np.random.default_rng(1))
        assert n < 5 or sample != subject.sample(n, 2)
        state: Any = np.random.get_state()
        for arch in sample:
            subject.graph(subject.canonical(arch))
        now: Any = np.random.get_state()
        assert (now[1] == state[1]).all() and now[2] == state[2], "numpy's global random state was used"

    def test_more_archs_than_there_are_cannot_be_drawn(self, subject: Space) -> None:
        for n in (0, subject.size + 1):
            with pytest.raises(InputError, match=f"cannot draw {n} architectures from {subject.name}"):
                subject.sample(n, 0)

    def test_it_is_listed_whole_or_said_to_be_too_large(self, subject: Space) -> None:
        try:
            archs = subject.archs()
        except InputError as reason:
            assert "too many to list" in str(reason) and subject.size > 100_000, "archs() lists up to 100,000"
        else:
            assert len(archs) == len(set(archs)) == subject.size, "archs() gives each of `size` archs once"
            assert set(_some(subject, 20, 0)) <= set(archs)

    def test_a_mutation_is_seeded_in_the_space_and_another_arch(self, subject: Space) -> None:
        for seed, arch in enumerate(_some(subject, 20, 3)):
            other = subject.mutate(arch, seed)
            assert other == subject.mutate(arch, seed) == subject.mutate(arch, np.random.default_rng(seed)) != arch
            subject.canonical(other)
        arch = subject.sample(1, 0)[0]
        assert len({subject.mutate(arch, seed) for seed in range(20)}) > min(5, subject.size // 4)

    def test_decisions_compose_what_they_decompose(self, subject: Space) -> None:
        _needs_decisions(subject)
        names = [decision.name for decision in subject.decisions]
        assert len(set(names)) == len(names), "decisions have different names"
        for place, decision in enumerate(subject.decisions):
            assert len(set(decision.choices)) == len(decision.choices) > 0, f"choices of {decision.name}"
            assert not decision.parent or decision.parent in names[:place], f"{decision.name} stands before its parent"
        for arch in _some(subject, 20, 14):
            chosen = subject.decompose(arch)
            assert list(chosen) == [d.name for d in subject.decisions if d.active(chosen)], "active decisions, in order"
            assert all(chosen[d.name] in d.choices for d in subject.decisions if d.name in chosen)
            assert subject.canonical(subject.compose(chosen)) == subject.canonical(arch)
            first = next(iter(chosen))
            rest = {name: chosen[name] for name in [*chosen][1:]}
            for wrong in ({first: "nonsense"} | rest, chosen | {"nonsense": 1}, rest):
                with pytest.raises(InputError):
                    subject.compose(wrong)

    def test_neighbours_and_children_are_other_archs_of_the_space(self, subject: Space) -> None:
        _needs_decisions(subject)
        archs = _some(subject, 6, 15)
        for seed, (a, b) in enumerate(itertools.pairwise(archs)):
            near = subject.neighbours(a)
            assert len(set(near)) == len(near) > 0 and a not in near
            for other in near[:: max(1, len(near) // 10)]:
                subject.canonical(other)
            child = subject.crossover(a, b, seed)
            assert child == subject.crossover(a, b, seed) == subject.crossover(a, b, np.random.default_rng(seed))
            subject.canonical(child)
            assert subject.canonical(subject.crossover(a, a, seed)) == subject.canonical(a)

    def test_canonical_is_idempotent(self, subject: Space) -> None:
        for arch in _some(subject, 50, 4):
            assert subject.canonical(subject.canonical(arch)) == subject.canonical(arch)

    def test_the_canonical_arch_computes_the_same_function(self, subject: Space) -> None:
        """Within 2 %: where channels do not divide evenly, the order of the parts may decide which gets one more."""
        archs = [arch for arch in _some(subject, 60, 5) if subject.canonical(arch) != arch]
        changed = [subject.mutate(arch, 0) for arch in _some(subject, 12, 6)]
        archs += [arch for arch in changed if subject.canonical(arch) != arch]
        for arch in sorted(archs[:8], key=lambda arch: subject.cost(arch).macs)[:2]:
            one, same = outputs_of(subject, arch), outputs_of(subject, subject.canonical(arch))
            torch.testing.assert_close(one, same, rtol=0.02, atol=1e-9)

    def test_slots_name_exactly_the_places_of_weights(self, subject: Space) -> None:
        names = [slot.name for slot in subject.slots]
        assert len(set(names)) == len(names) > 0, "slots have different names"
        assert all(slot.stage >= 0 and slot.depth >= 0 for slot in subject.slots)
        used: set[str] = set()
        edges = {slot.edge for slot in subject.slots}
        idle = set(edges)
        with torch.device("meta"), Shapes():
            for number, arch in enumerate(_some(subject, 40, 7)):
                if number >= 8 and not idle:
                    break
                layers = layers_of(subject.network(arch))
                missing = missing_slots(subject, layers)
                assert not missing, f"{arch} has layers that fill no slot: {missing[:3]}; add a Slot for each"
                used |= set(layers)
                idle = edges - {slot.edge for slot in subject.slots if slot.name in used}
        assert not idle, f"no drawn network has anything at {sorted(idle)[:3]}; leave these slots out"

    def test_nodes_of_features_fill_slots(self, subject: Space) -> None:
        """What is traced while a network runs has the names of slots."""
        arch = subject.sample(1, 12)[0]
        task = smallest(subject.task())
        inputs = torch.randn(2, *task.input_shape, generator=torch.Generator().manual_seed(0))
        features = extract(subject.network(arch, task.name), inputs, proxies=["l2_norm", "n_layers"])
        missing = missing_slots(subject, features.nodes)
        assert not missing, f"{arch} has nodes that fill no slot: {missing[:3]}; add a Slot for each"
        assert features.scores["n_layers"] == subject.cost(arch).n_layers

    def test_cost_is_that_of_the_network_as_built(self, subject: Space) -> None:
        archs = _some(subject, len(subject.tasks), 8)
        with torch.device("meta"), Shapes():
            for arch, task in zip(archs, subject.tasks, strict=False):
                cost = subject.cost(arch, task)
                network = subject.network(arch, task).eval()
                assert (cost.params, cost.macs, cost.n_layers) == counted(network, subject.task(task)), (arch, task)

    def test_every_task_runs_forward_and_backward(self, subject: Space) -> None:
        arch = min(_some(subject, 10, 9), key=lambda arch: subject.cost(arch).macs)
        for name in subject.tasks:
            task = smallest(subject.task(name))
            network = subject.network(arch, task.name)
            inputs = torch.randn(2, *task.input_shape, generator=torch.Generator().manual_seed(0))
            outputs = network(inputs)
            assert outputs.shape == (2, task.classes), f"{name} has {task.classes} classes"
            nn.functional.cross_entropy(outputs, torch.tensor([0, task.classes - 1])).backward()  # type: ignore[no-untyped-call]
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            assert gradients and all(gradient.isfinite().all() for gradient in gradients)

    def test_weights_depend_on_the_seed_and_on_the_place(self, subject: Space) -> None:
        arch = subject.sample(1, 10)[0]
        state = torch.get_rng_state()
        first, again, other = (subject.network(arch, seed=seed).state_dict() for seed in (1, 1, 2))
        assert torch.equal(torch.get_rng_state(), state), "torch's global random state was used; build with initialise"
        assert all(torch.equal(first[name], again[name]) for name in first), "one seed gives one network"
        last = [name for name in first if name.endswith("weight")][-1]
        assert not torch.equal(first[last], other[last]), "another seed gives other weights"

    def test_graphs_are_acyclic_and_labelled(self, subject: Space) -> None:
        assert len(set(subject.operations)) == len(subject.operations)
        for arch in _some(subject, 40, 11):
            graph = subject.graph(arch)
            n = len(graph.operations)
            assert graph.adjacency.shape == (n, n) and graph.adjacency.dtype == np.bool_
            assert not np.tril(graph.adjacency).any(), "a vertex reads from itself or from a later one"
            assert set(graph.operations) <= set(subject.operations), "`operations` lists every label"
            assert {"input", "output"} <= set(graph.operations)

    def test_other_things_than_archs_are_refused(self, subject: Space) -> None:
        for thing in NO_ARCHS:
            for method in ("canonical", "graph", "network", "cost"):
                with pytest.raises(InputError) as caught:
                    getattr(subject, method)(thing)
                assert len(str(caught.value)) < 1_000
            with pytest.raises(InputError):
                subject.mutate(thing, 0)  # type: ignore[arg-type]

    def test_a_line_break_is_refused_or_means_nothing(self, subject: Space) -> None:
        arch = subject.sample(1, 0)[0]
        try:
            same = subject.canonical(arch + "\n")
        except InputError:
            return
        assert same == subject.canonical(arch)

    def test_a_changed_character_is_refused_or_still_an_arch(self, subject: Space) -> None:
        """Damaged notation raises `InputError` and no other error, or is an arch of the space."""
        rng = np.random.default_rng(0)
        archs = _some(subject, 5, 13)
        for _ in range(60):
            arch = archs[int(rng.integers(len(archs)))]
            place = int(rng.integers(len(arch)))
            character = CHARACTERS[int(rng.integers(len(CHARACTERS)))]
            for damaged in (arch[:place] + character + arch[place + 1 :], arch[:place] + arch[place + 1 :]):
                try:
                    canonical = subject.canonical(damaged)
                except InputError:
                    continue
                assert subject.canonical(canonical) == canonical
                subject.graph(damaged)

    def test_tables_spell_what_they_mean_or_are_refused(self, subject: Space) -> None:
        assert subject.columns
        if subject.columns == ("arch",):
            arch = subject.sample(1, 0)[0]
            assert subject.spell({"arch": arch}) == arch
        else:
            with pytest.raises(InputError):
                subject.spell(dict.fromkeys(subject.columns, "nonsense"))


def _some(space: Space, n: int, seed: int) -> list[str]:
    """Return up to `n` archs, as many as there are."""
    return space.sample(min(n, space.size), seed)


def _needs_decisions(space: Space) -> None:
    if not space.decisions:
        pytest.skip(f"{space.name} has no decision view")
