"""The tracer: which nodes it finds, in which order, what they cost, and the gradients it keeps apart."""

import copy
import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from parzc.features.passes.nodes import Node, depth_first, predecessors
from parzc.features.passes.passes import Passes
from parzc.features.passes.trace import Recorder


def seeded(network_class, *args):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return network_class(*args)


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def layout(nodes):
    return [(node.name, node.depth) for node in nodes]


class Diamond(nn.Module):
    """A stem, a branch of two convolutions, a branch of one, their sum, a classifier."""

    def __init__(self, short_first=False):
        super().__init__()
        self.short_first = short_first
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.long_1 = nn.Conv2d(4, 4, 3, padding=1)
        self.long_2 = nn.Conv2d(4, 4, 1)
        self.short = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        if self.short_first:
            short = self.short(x)
            long = self.long_1(x)
        else:
            long = self.long_1(x)
            short = self.short(x)
        return self.head((self.long_2(F.relu(long)) + short).mean((2, 3)))


def test_a_chain_is_listed_from_the_input():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(96, 5)
    )
    nodes = Passes(network, images(2, 3, 8, 8)).forward
    assert layout(nodes) == [("0", 0), ("3", 1), ("5", 2)]
    assert [node.kind for node in nodes] == ["conv2d", "conv2d", "linear"]
    assert [node.channels for node in nodes] == [4, 6, 5]
    assert [node.weight.numel() for node in nodes] == [108, 216, 480]
    # Positions x weights of one output + one addition for each output with a bias.
    assert [node.macs for node in nodes] == [36 * 4 * 27 + 144, 16 * 6 * 36 + 96, 5 * 96 + 5]


@pytest.mark.parametrize(
    ("short_first", "expected"),
    [
        (False, [("stem", 0), ("long_1", 1), ("long_2", 2), ("short", 1), ("head", 3)]),
        (True, [("stem", 0), ("short", 1), ("long_1", 1), ("long_2", 2), ("head", 3)]),
    ],
)
def test_branches_of_a_diamond_stay_together_in_the_order_in_which_they_ran(short_first, expected):
    assert layout(Passes(Diamond(short_first), images(2, 3, 6, 6)).forward) == expected


class Dense(nn.Module):
    """Each layer reads the concatenation of the input and of all layers before it."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 2 * i, 2, 3, padding=1) for i in range(3))
        self.head = nn.Linear(9, 5)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], 1)
        return self.head(x.mean((2, 3)))


def test_dense_connections_reach_every_later_layer():
    network = Dense()
    recorder = Recorder(network)
    with recorder:
        network(images(2, 3, 6, 6))
    executed = [Node(name, calls=[call]) for name, call in recorder.calls]
    assert predecessors(executed) == [set(), {0}, {0, 1}, {0, 1, 2}]
    assert layout(recorder.nodes()) == [("layers.0", 0), ("layers.1", 1), ("layers.2", 2), ("head", 3)]


def test_a_skip_past_a_node_does_not_lower_its_depth():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = self.a(x)
            return self.c(x + self.b(x))

    assert layout(Passes(Skip(), images(3, 4)).forward) == [("a", 0), ("b", 1), ("c", 2)]


class Shared(nn.Module):
    """One linear map applied three times, with another in between."""

    def __init__(self):
        super().__init__()
        self.again, self.other, self.head = nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 5)

    def forward(self, x):
        x = torch.tanh(self.again(x))
        x = torch.tanh(self.again(x) + self.other(x))
        return self.head(self.again(x))


def test_a_shared_weight_is_one_node_whose_gradient_is_that_of_autograd():
    network, x, labels = seeded(Shared), images(4, 6), torch.tensor([0, 3, 1, 4])
    nodes = {node.name: node for node in Passes(network, x, labels).gradients}
    assert list(nodes) == ["again", "other", "head"]
    assert len(nodes["again"].calls) == 3
    assert nodes["again"].macs == 3 * (36 + 6)
    F.cross_entropy(network(x), labels).backward()
    for name, node in nodes.items():
        expected = network.get_submodule(name).weight.grad
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(node.gradient, expected, rtol=1e-5, atol=1e-7)


def test_tied_modules_are_one_node_under_the_first_name():
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    nodes = Passes(nn.Sequential(first, nn.ReLU(), second), images(4, 5)).forward
    assert [(node.name, len(node.calls), node.depth) for node in nodes] == [("0", 2, 0)]


def test_weights_applied_by_functions_are_named_after_their_parameters():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3))
            self.mix = nn.Parameter(torch.full((4, 4), 0.5))
            self.block = nn.Linear(4, 5)

        def forward(self, x):
            x = F.linear(input=x, weight=self.weight)
            x = F.linear(x, self.mix)
            return F.linear(x, self.block.weight, self.block.bias)

    nodes = Passes(Functional(), images(2, 3)).forward
    assert [(node.name, node.macs) for node in nodes] == [("weight", 12), ("mix", 16), ("block", 25)]


def test_a_frozen_weight_is_measured_like_any_other():
    network, x, labels = seeded(Diamond), images(2, 3, 6, 6), torch.tensor([1, 4])
    free = {node.name: node.gradient for node in Passes(network, x, labels).gradients}
    for name in ("stem", "long_2"):
        network.get_submodule(name).requires_grad_(False)
    frozen = {node.name: node.gradient for node in Passes(network, x, labels).gradients}
    assert list(frozen) == list(free)
    for name, gradient in free.items():
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(frozen[name], gradient, rtol=0, atol=0)


def test_a_part_run_without_gradients_has_zero_gradients():
    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, x):
            with torch.no_grad():
                x = self.body(x)
            return self.head(x.mean((2, 3)))

    body, head = Passes(seeded(Backbone), images(2, 3, 6, 6)).gradients
    assert (body.name, head.name) == ("body", "head")
    assert torch.equal(body.gradient, torch.zeros(4, 3, 3, 3))
    assert body.calls[0].output_grad is None
    assert head.gradient.abs().max() > 1e-3


def test_a_network_wholly_without_gradients_has_zero_gradients():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 5)

        def forward(self, x):
            return self.head(x).detach()

    (head,) = Passes(Constant(), images(2, 4)).gradients
    assert torch.equal(head.gradient, torch.zeros(5, 4))


def test_an_output_overwritten_in_place_is_given_as_it_left_the_operation():
    def build(inplace):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(inplace), nn.Conv2d(4, 5, 3), nn.ReLU(inplace), nn.Flatten(), nn.Linear(20, 5)
        )

    plain, overwriting = seeded(build, False), seeded(build, True)
    x = images(2, 3, 6, 6)
    expected, nodes = Passes(plain, x).gradients, Passes(overwriting, x).gradients
    for other, node in zip(expected, nodes, strict=True):
        torch.testing.assert_close(node.calls[0].original_output(), other.calls[0].output.detach(), rtol=0, atol=0)
        torch.testing.assert_close(node.calls[0].output_grad, other.calls[0].output_grad, rtol=0, atol=0)
    assert (nodes[0].calls[0].original_output() < 0).any()
    assert (nodes[0].calls[0].output >= 0).all()


def test_a_dead_branch_is_a_node_with_zero_gradient():
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.dead = nn.Linear(4, 5), nn.Linear(4, 5)

        def forward(self, x):
            self.dead(x)
            return self.used(x)

    dead, used = Passes(seeded(Dead), images(3, 4)).gradients
    assert layout([dead, used]) == [("dead", 0), ("used", 0)]
    assert torch.equal(dead.gradient, torch.zeros(5, 4))
    assert dead.calls[0].output_grad is None
    assert used.gradient.abs().max() > 1e-3


OPERATIONS = {
    "plain": (lambda bias: nn.Conv2d(4, 6, 3, bias=bias), (4, 7, 5)),
    "strided": (lambda bias: nn.Conv2d(4, 6, 3, stride=2, bias=bias), (4, 9, 9)),
    "grouped": (lambda bias: nn.Conv2d(4, 6, 3, groups=2, bias=bias), (4, 6, 6)),
    "depthwise": (lambda bias: nn.Conv2d(4, 4, (3, 1), groups=4, bias=bias), (4, 6, 6)),
    "dilated": (lambda bias: nn.Conv2d(4, 6, 3, dilation=2, bias=bias), (4, 8, 8)),
    "1d": (lambda bias: nn.Conv1d(4, 6, 5, bias=bias), (4, 11)),
    "3d": (lambda bias: nn.Conv3d(2, 3, 2, bias=bias), (2, 4, 3, 5)),
    "transposed 1d": (lambda bias: nn.ConvTranspose1d(4, 6, 3, stride=2, bias=bias), (4, 5)),
    "transposed 2d": (lambda bias: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=bias), (4, 5, 4)),
    "transposed 3d": (lambda bias: nn.ConvTranspose3d(2, 3, 2, bias=bias), (2, 3, 2, 4)),
    "linear": (lambda bias: nn.Linear(7, 3, bias=bias), (7,)),
    "linear on tokens": (lambda bias: nn.Linear(7, 3, bias=bias), (4, 7)),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
def test_macs_count_the_products_of_the_sum(name, bias):
    """With all weights and inputs one and no padding, the outputs add up to the number of products."""
    build, shape = OPERATIONS[name]
    layer = build(bias)
    (node,) = Passes(nn.Sequential(layer, nn.Flatten()), images(3, *shape)).forward
    ones = copy.deepcopy(layer)
    nn.init.ones_(ones.weight)
    if bias:
        nn.init.zeros_(ones.bias)
    with torch.no_grad():
        out = ones(torch.ones(1, *shape))
    assert node.macs == int(out.sum()) + bias * out.numel()
    assert node.kind == KIND_OF[type(layer)]
    assert node.channels == (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


KIND_OF = {
    nn.Linear: "linear",
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    nn.ConvTranspose1d: "conv_transpose1d",
    nn.ConvTranspose2d: "conv_transpose2d",
    nn.ConvTranspose3d: "conv_transpose3d",
}


def test_zeros_that_pad_the_input_are_counted():
    """The literature counts positions times weights, also where a weight meets padding."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Flatten())
    (node,) = Passes(network, images(2, 3, 5, 5)).forward
    assert node.macs == 5 * 5 * 4 * 27


def test_macs_are_of_one_input_also_where_tokens_are_folded_into_the_batch():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(4, 6)

        def forward(self, x):
            return self.map(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)

    for batch in (1, 2, 5):
        (node,) = Passes(Folded(), images(batch, 3, 4)).forward
        assert node.macs == 3 * (24 + 6)


def test_functions_can_be_replaced_while_recording():
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU())
    recorder = Recorder(network, replace={F.relu: lambda x, **_: x * 0 + 7})
    with recorder:
        out = network(images(2, 4))
    assert torch.equal(out, torch.full((2, 5), 7.0))
    assert [name for name, _ in recorder.calls] == ["0"]


def test_nothing_is_recorded_outside_or_of_other_weights():
    network, other = nn.Linear(4, 5), nn.Linear(4, 5)
    recorder = Recorder(network)
    network(images(2, 4))
    with recorder:
        other(images(2, 4))
    assert recorder.calls == []
    assert recorder.nodes() == []


def test_what_was_recorded_is_freed_without_the_garbage_collector():
    passes = Passes(seeded(Diamond), images(2, 3, 6, 6))
    watched = [weakref.ref(call.output) for node in passes.gradients for call in node.calls]
    assert all(reference() is not None for reference in watched)
    gc.disable()
    try:
        del passes
        assert [reference() for reference in watched] == [None] * 5
    finally:
        gc.enable()


@st.composite
def directed_acyclic_graphs(draw):
    """For each vertex the set of those it reads from, all with smaller indices."""
    n = draw(st.integers(0, 12))
    return [draw(st.sets(st.integers(0, v - 1))) if v else set() for v in range(n)]


@settings(deadline=None)
@given(directed_acyclic_graphs())
def test_depth_first_lists_each_vertex_once_and_after_its_sources(before):
    order = depth_first(before)
    assert sorted(order) == list(range(len(before)))
    place = {vertex: i for i, vertex in enumerate(order)}
    assert all(place[source] < place[vertex] for vertex, sources in enumerate(before) for source in sources)


@settings(deadline=None)
@given(directed_acyclic_graphs())
def test_depth_first_is_algorithm_1_read_backwards(before):
    appended, seen = [], set()

    def visit(vertex):
        if vertex in seen:
            return
        seen.add(vertex)
        for child in reversed(range(len(before))):
            if vertex in before[child]:
                visit(child)
        appended.append(vertex)

    for root in reversed(range(len(before))):
        if not before[root]:
            visit(root)
    assert depth_first(before) == appended[::-1]


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 5))
def test_depth_first_keeps_parallel_chains_together(chains, length):
    """`chains` chains of `length` vertices between a source and a sink, run one step of each chain at a time."""
    steps = [[1 + step * chains + chain for step in range(length)] for chain in range(chains)]
    before = [set() for _ in range(chains * length + 2)]
    for chain in steps:
        for source, vertex in zip([0, *chain], [*chain, len(before) - 1], strict=True):
            before[vertex].add(source)
    expected = [0, *(vertex for chain in steps for vertex in chain), len(before) - 1]
    assert depth_first(before) == expected
