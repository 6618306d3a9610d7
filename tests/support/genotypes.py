"""Published genotypes, and genotypes drawn by hypothesis."""

from hypothesis import strategies as st

from parzc.datasets.spaces._genotype import Cell, Genotype

V2_NORMAL = (
    "[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)]"
)
V2_REDUCE = (
    "[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), "
    "('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)]"
)


def text(normal, normal_concat, reduce, reduce_concat, size=""):
    return (
        f"Genotype(normal={normal}, normal_concat={normal_concat}, "
        f"reduce={reduce}, reduce_concat={reduce_concat}{size})"
    )


def published(normal, normal_concat, reduce, reduce_concat):
    """The genotype of a published network, of the size of its CIFAR-10 network."""
    return text(pairs(normal), normal_concat, pairs(reduce), reduce_concat, ", width=36, depth=20")


SHORT = {
    "s3": "sep_conv_3x3", "s5": "sep_conv_5x5", "s7": "sep_conv_7x7", "d3": "dil_conv_3x3", "d5": "dil_conv_5x5",
    "x": "skip_connect", "a": "avg_pool_3x3", "m": "max_pool_3x3", "c7": "conv_7x1_1x7",
}  # fmt: skip


def pairs(words):
    return [(SHORT[operation], int(source)) for operation, source in (word.split("~") for word in words.split())]


ALL4, ALL5 = "range(2, 6)", "[2, 3, 4, 5, 6]"
DARTS_V2 = text(V2_NORMAL, ALL4, V2_REDUCE, ALL4, ", width=36, depth=20")
DARTS_V1 = published(
    "s3~1 s3~0 x~0 s3~1 x~0 s3~1 s3~0 x~2", ALL4, "m~0 m~1 x~2 m~0 m~0 x~2 x~2 a~0", ALL4
)  # fmt: skip
PDARTS = published(
    "x~0 d3~1 x~0 s3~1 s3~1 s3~3 s3~0 d5~4", ALL4, "a~0 s5~1 s3~0 d5~2 m~0 d3~1 d3~1 d5~3", ALL4
)  # fmt: skip
NASNET = published(
    "s5~1 s3~0 s5~0 s3~0 a~1 x~0 a~0 a~0 s3~1 x~1", ALL5,
    "s5~1 s7~0 m~1 s7~0 a~1 s5~0 x~3 a~2 s3~2 m~1", "[4, 5, 6]",
)  # fmt: skip
PNAS_CELL = "s5~0 m~0 s7~1 m~1 s5~1 s3~1 s3~4 m~1 s3~0 x~1"
PNAS = published(PNAS_CELL, ALL5, PNAS_CELL, ALL5)
AMOEBA = published(
    "a~0 m~1 s3~0 s5~2 s3~0 a~3 s3~1 x~1 x~0 a~1", "[4, 5, 6]",
    "a~0 s3~1 m~0 s7~2 s7~0 a~1 m~0 m~1 c7~0 s3~5", "[3, 4, 6]",
)  # fmt: skip


@st.composite
def cells(draw, family):
    edges = []
    for node in range(2, 2 + family.nodes):
        sources = st.lists(st.integers(0, node - 1), min_size=2, max_size=2, unique=not family.repeats)
        edges += [(draw(st.sampled_from(family.operations)), source) for source in draw(sources)]
    cell = Cell(tuple(edges), tuple(range(2, 2 + family.nodes)))
    return cell if family.output == "all" else Cell(cell.edges, cell.loose_ends())


def genotypes(family, widths=(2, 4, 32), depths=range(3, 25)):
    return st.builds(Genotype, cells(family), cells(family), st.sampled_from(widths), st.sampled_from(depths))
