"""What cell-based spaces share: notation, networks, graphs, counts, drawing; the spaces themselves are in `darts`."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import comb, prod
from types import MappingProxyType

import numpy as np

from parzc.datasets.spaces._base import Cost, Graph, Space, Task, initialise
from parzc.datasets.spaces._cell_costs import KINDS, MAX_DEPTH, Family, cell_slots, costs
from parzc.datasets.spaces._cells import CellNetwork
from parzc.datasets.spaces._decisions import Choice, Decision, as_generator, checked_choices
from parzc.datasets.spaces._genotype import (
    EXAMPLE,
    Cell,
    Genotype,
    canonical_cell,
    ordered,
    read_genotype,
    read_indices,
)
from parzc.errors import InputError

MIN_DEPTH, MAX_WIDTH = 3, 512


class CellSpace(Space):
    """A space of normal and reduction cells; subclasses define `name` and `family`."""

    family: Family
    citation = "Radosavovic et al., On Network Design Spaces for Visual Recognition, ICCV 2019"
    tasks = MappingProxyType(
        {
            "cifar10": Task("cifar10", (3, 32, 32), 10),
            "cifar100": Task("cifar100", (3, 32, 32), 100),
            "imagenet": Task("imagenet", (3, 224, 224), 1000),
        }
    )

    def __init__(self) -> None:
        labels = [f"{kind} {label}" for kind in KINDS for label in ("input", *self.family.operations, "output")]
        self.operations = ("input", *labels, "output")
        self.slots = cell_slots(self.family)
        self.decisions = _decisions(self.family)

    @property
    def size(self) -> int:
        """The number of genotypes, of all widths and depths that are drawn.

        Edges of one node from different sources are counted as a set (as the DARTS paper counts), from sources that
        may be the same as a list (as the NDS paper counts).
        """
        family = self.family
        sources = range(2, 2 + family.nodes)
        pairs = [j * j if family.repeats else comb(j, 2) for j in sources]
        cells = prod(pair * len(family.operations) ** 2 for pair in pairs)
        return cells**2 * len(family.widths) * len(family.depths)

    def parse(self, arch: str) -> Genotype:
        """Return the genotype that `arch` says, the edges of each node in order of their sources.

        Raises:
            InputError: if `arch` is no genotype of the space; the message says why.
        """
        found = None
        if isinstance(arch, str) and len(arch) < 5_000:
            found = read_genotype(arch)
            if found is None and self.family.default:
                found = read_indices(arch, self.family.operations)
        if found is None:
            raise InputError(f"'{str(arch)[:200]}' is not an arch of {self.name}; write it like {EXAMPLE}")
        if self.family.default and not found.depth:
            found = replace(found, width=self.family.default[0], depth=self.family.default[1])
        problem = self._problem(found)
        if problem:
            raise InputError(f"'{arch[:200]}' is not an arch of {self.name}: {problem}")
        return replace(found, normal=ordered(found.normal), reduce=ordered(found.reduce))

    def _problem(self, genotype: Genotype) -> str:
        """Return what keeps a genotype out of the space, if anything does."""
        if not MIN_DEPTH <= genotype.depth <= MAX_DEPTH:
            return f"the depth is {genotype.depth}; give {MIN_DEPTH} to {MAX_DEPTH} cells"
        if genotype.width % 2 or not 2 <= genotype.width <= MAX_WIDTH:
            return f"the width is {genotype.width}; give an even number of channels, at most {MAX_WIDTH}"
        for kind, cell in zip(KINDS, (genotype.normal, genotype.reduce), strict=True):
            problem = self._problem_of_cell(cell)
            if problem:
                return f"in the {kind} cell, {problem}"
        return ""

    def _problem_of_cell(self, cell: Cell) -> str:
        if len(cell.edges) != 2 * self.family.nodes:
            return f"there are {len(cell.edges)} edges, not {2 * self.family.nodes}"
        for operation, _ in cell.edges:
            if operation not in self.family.operations:
                return f"'{operation}' is no operation; choose from {', '.join(self.family.operations)}"
        for node in cell.nodes:
            sources = [source for _, source in cell.into(node)]
            if max(sources) >= node:
                return f"node {node} reads from {max(sources)}, which comes later"
            if sources[0] == sources[1] and not self.family.repeats:
                return f"node {node} reads twice from {sources[0]}"
        needed = cell.nodes if self.family.output == "all" else cell.loose_ends()
        missing = [node for node in needed if node not in cell.concat]
        if missing:
            return f"node {missing[0]} is not in the output"
        if len(set(cell.concat)) != len(cell.concat) or not set(cell.concat) <= set(cell.nodes):
            return f"the output {list(cell.concat)} is not made of different nodes"
        return ""

    def network(self, arch: str, task: str = "", seed: int = 0) -> CellNetwork:
        """Build the network of `arch`, its weights drawn from `seed`; for `imagenet` with the stem for ImageNet."""
        genotype, target = self.parse(arch), self.task(task)
        return initialise(lambda: CellNetwork(genotype, target.classes, target.name == "imagenet"), seed)

    def graph(self, arch: str) -> Graph:
        """Return both cells: the network's input, the normal cell, the reduction cell, the network's output.

        Each cell has vertices for its two inputs, the operation of each edge, and its output; an operation reads from
        those of all edges into its source. Width and depth are not in the graph.
        """
        genotype = self.parse(arch)
        labels, adjacency = ["input"], np.zeros((2, 2), dtype=np.bool_)
        edges: list[tuple[int, int]] = []
        source = 0
        for kind, cell in zip(KINDS, (genotype.normal, genotype.reduce), strict=True):
            first = len(labels)
            labels += [f"{kind} {label}" for label in ("input", "input", *[op for op, _ in cell.edges], "output")]
            edges += [(source, first), (source, first + 1)]
            states = {0: [first], 1: [first + 1]} | {
                node: [first + 2 + 2 * (node - 2), first + 3 + 2 * (node - 2)] for node in cell.nodes
            }
            for i, (_, read) in enumerate(cell.edges):
                edges += [(vertex, first + 2 + i) for vertex in states[read]]
            source = len(labels) - 1
            edges += [(vertex, source) for node in cell.concat for vertex in states[node]]
        labels.append("output")
        adjacency = np.zeros((len(labels), len(labels)), dtype=np.bool_)
        adjacency[tuple(np.array([*edges, (source, len(labels) - 1)]).T)] = True
        return Graph(tuple(labels), adjacency)

    def canonical(self, arch: str) -> str:
        """Return the representative of all genotypes of one function, with width and depth.

        Edges and nodes are in one order, and operations on zero are `none` (see `canonical_cell`).
        """
        genotype = self.parse(arch)
        return str(replace(genotype, normal=canonical_cell(genotype.normal), reduce=canonical_cell(genotype.reduce)))

    def cost(self, arch: str, task: str = "") -> Cost:
        """Return the counts of the network as published: without auxiliary head, batch norms with scale and shift."""
        found = costs(self.parse(arch), self.task(task))
        params, macs, layers = (sum(column) for column in zip(*found, strict=True))
        return Cost(params, macs, layers)

    def draw(self, generator: np.random.Generator) -> str:
        """Return a genotype whose operations, sources, width and depth are drawn uniformly."""
        family = self.family
        width, depth = family.default or (0, 0)
        if not family.default:
            width, depth = int(generator.choice(family.widths)), int(generator.choice(family.depths))
        normal, reduce = (self._draw_cell(generator) for _ in KINDS)
        return str(Genotype(normal, reduce, width, depth))

    def _draw_cell(self, generator: np.random.Generator) -> Cell:
        edges: list[tuple[str, int]] = []
        for node in range(2, 2 + self.family.nodes):
            for source in generator.choice(node, size=2, replace=self.family.repeats):
                edges.append((self.family.operations[generator.integers(len(self.family.operations))], int(source)))
        return self._with_output(edges)

    def _with_output(self, edges: Sequence[tuple[str, int]]) -> Cell:
        cell = Cell(tuple(edges), tuple(range(2, 2 + self.family.nodes)))
        return ordered(cell if self.family.output == "all" else replace(cell, concat=cell.loose_ends()))

    def compose(self, choices: Mapping[str, Choice]) -> str:
        """Return the genotype with these operations and sources, width and depth; outputs follow from the edges.

        Raises:
            InputError: if a choice is missing or unknown, or a node may not read twice from one source.
        """
        chosen = checked_choices(choices, self.decisions, self.name)
        cells = []
        for kind in KINDS:
            edges = [
                (chosen[f"{kind} {node}{edge} operation"], chosen[f"{kind} {node}{edge} source"])
                for node, edge in _edges(self.family)
            ]
            cells.append(self._with_output(edges))
        width, depth = chosen.get("width", self.family.widths[0]), chosen.get("depth", self.family.depths[0])
        arch = str(Genotype(cells[0], cells[1], width, depth))
        self.parse(arch)
        return arch

    def decompose(self, arch: str) -> dict[str, Choice]:
        """Return operation and source of both edges of each node, and width and depth where the space varies them.

        Whether a node that others read is concatenated, too, is not kept.

        Raises:
            InputError: if `arch` is not in the space, or has a width or depth that the space does not draw.
        """
        genotype = self.parse(arch)
        chosen: dict[str, Choice] = {}
        for kind, cell in zip(KINDS, (genotype.normal, genotype.reduce), strict=True):
            for (node, edge), (operation, source) in zip(_edges(self.family), cell.edges, strict=True):
                chosen[f"{kind} {node}{edge} operation"] = operation
                chosen[f"{kind} {node}{edge} source"] = source
        for name, values in (("width", self.family.widths), ("depth", self.family.depths)):
            if len(values) > 1 or getattr(genotype, name) != values[0]:
                chosen[name] = getattr(genotype, name)
        return checked_choices(chosen, self.decisions, self.name)

    def mutate(self, arch: str, seed: np.random.Generator | int) -> str:
        """Return the genotype with another operation or source at one edge, or another width or depth.

        Each edge's operation and source, and the width and depth where the space varies them, are equally likely to be
        chosen, save for the sources that cannot change. Outputs follow where they are the loose ends.
        """
        genotype, generator = self.parse(arch), as_generator(seed)
        changes = [(kind, edge, what) for kind in KINDS for edge in range(2 * self.family.nodes) for what in (0, 1)]
        sizes = {
            name: [value for value in values if value != getattr(genotype, name)]
            for name, values in (("width", self.family.widths), ("depth", self.family.depths))
        }
        choices: list[tuple[str, int, int]] = [
            *(change for change in changes if self._others(getattr(genotype, change[0]), *change[1:])),
            *((name, 0, 0) for name, values in sizes.items() if values),
        ]
        name, edge, what = choices[int(generator.integers(len(choices)))]
        if name in sizes:
            size = int(generator.choice(sizes[name]))
            return str(replace(genotype, width=size) if name == "width" else replace(genotype, depth=size))
        cell: Cell = getattr(genotype, name)
        others = self._others(cell, edge, what)
        edges = list(cell.edges)
        edges[edge] = others[int(generator.integers(len(others)))]
        cell = self._with_output(edges)
        return str(replace(genotype, normal=cell) if name == "normal" else replace(genotype, reduce=cell))

    def _others(self, cell: Cell, edge: int, what: int) -> list[tuple[str, int]]:
        """Return what an edge may be instead: with other operations (`what` 0) or from other sources (1)."""
        operation, source = cell.edges[edge]
        if what == 0:
            return [(other, source) for other in self.family.operations if other != operation]
        taken = {source} if self.family.repeats else {source, cell.edges[edge ^ 1][1]}
        return [(operation, other) for other in range(2 + edge // 2) if other not in taken]


def _edges(family: Family) -> list[tuple[int, str]]:
    """Return the node and a letter for each edge of a cell."""
    return [(node, edge) for node in range(2, 2 + family.nodes) for edge in "ab"]


def _decisions(family: Family) -> tuple[Decision, ...]:
    found = []
    for kind, (node, edge) in itertools.product(KINDS, _edges(family)):
        found.append(Decision(f"{kind} {node}{edge} operation", family.operations))
        found.append(Decision(f"{kind} {node}{edge} source", tuple(range(node))))
    sizes = (("width", family.widths), ("depth", family.depths))
    return (*found, *(Decision(name, values) for name, values in sizes if len(values) > 1))
