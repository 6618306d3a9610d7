"""Cell-based spaces: DARTS (Liu et al. 2019, arXiv:1806.09055) and the five NAS families of NDS (Radosavovic et al.
2019, arXiv:1905.13214).

An architecture is a genotype in the notation of DARTS with width and depth behind it (see `_genotype`). Where `darts`
is given a genotype alone, as DARTS prints it or as index pairs, width and depth are those of NAS-Bench-301: 32 channels
and 8 cells. Parameters equal the published ones, which leave out the auxiliary head.
"""

from parzc.datasets.spaces._cell_costs import Family
from parzc.datasets.spaces._cell_space import CellSpace
from parzc.datasets.spaces._cell_supernet import CellSupernet


class Darts(CellSpace):
    """The space of DARTS and NAS-Bench-301: four nodes, seven operations, all nodes concatenated."""

    name = "darts"
    citation = "Liu et al., DARTS, ICLR 2019; Zela et al., NAS-Bench-301, ICLR 2022"
    family = Family(
        operations=(
            "max_pool_3x3",
            "avg_pool_3x3",
            "skip_connect",
            "sep_conv_3x3",
            "sep_conv_5x5",
            "dil_conv_3x3",
            "dil_conv_5x5",
        ),
        nodes=4,
        output="all",
        repeats=False,
        widths=(32,),
        depths=(8,),
        default=(32, 8),
    )
    supernet = CellSupernet(family)


class NDSDarts(CellSpace):
    """The DARTS family of NDS: `none` is an operation, and both edges of a node may come from one source."""

    name = "nds-darts"
    family = Family(("none", *Darts.family.operations), nodes=4, output="all")


class NDSENAS(CellSpace):
    """The ENAS family of NDS (Pham et al. 2018)."""

    name = "nds-enas"
    family = Family(
        ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3"), nodes=5, output="loose ends"
    )


class NDSNASNet(CellSpace):
    """The NASNet family of NDS (Zoph et al. 2018)."""

    name = "nds-nasnet"
    family = Family(
        (
            *("skip_connect", "conv_3x1_1x3", "conv_7x1_1x7", "dil_conv_3x3", "avg_pool_3x3", "max_pool_3x3"),
            *("max_pool_5x5", "max_pool_7x7", "conv_1x1", "conv_3x3", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7"),
        ),
        nodes=5,
        output="loose ends",
    )


class NDSAmoeba(CellSpace):
    """The AmoebaNet family of NDS (Real et al. 2019)."""

    name = "nds-amoeba"
    family = Family(
        (
            *("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "avg_pool_3x3", "max_pool_3x3"),
            *("dil_sep_conv_3x3", "conv_7x1_1x7"),
        ),
        nodes=5,
        output="loose ends",
    )


class NDSPNAS(CellSpace):
    """The PNAS family of NDS (Liu et al. 2018)."""

    name = "nds-pnas"
    family = Family(
        (
            *("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "conv_7x1_1x7"),
            *("skip_connect", "avg_pool_3x3", "max_pool_3x3", "dil_conv_3x3"),
        ),
        nodes=5,
        output="all",
    )
