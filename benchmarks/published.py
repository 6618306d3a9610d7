"""Published rank correlations on NAS-Bench-201, over the whole space: CIFAR-10, CIFAR-100, ImageNet16-120."""

from collections.abc import Mapping

Row = tuple[float, float, float]

AZ_NAS: Mapping[str, Row] = {
    "params": (0.578, 0.552, 0.520),
    "flops": (0.578, 0.551, 0.517),
    "grad_norm": (0.357, 0.350, 0.304),
    "grasp": (0.318, 0.315, 0.282),
    "snip": (0.454, 0.451, 0.400),
    "synflow": (0.571, 0.565, 0.555),
    "nwot": (0.557, 0.579, 0.573),
    "zen": (0.296, 0.283, 0.303),
    "gradsign": (0.618, 0.594, 0.575),
    "zico": (0.589, 0.590, 0.584),
    "az_nas": (0.741, 0.723, 0.710),
    "expressivity": (0.569, 0.563, 0.506),
    "progressivity": (0.521, 0.508, 0.489),
    "trainability": (0.349, 0.353, 0.407),
    "az_nas, linear": (0.697, 0.681, 0.663),
    "az_nas with synflow": (0.776, 0.758, 0.747),
    "az_nas with zico": (0.773, 0.757, 0.747),
}
XI_GSNR: Mapping[str, Row] = {
    "params": (0.576, 0.552, 0.519),
    "flops": (0.541, 0.517, 0.487),
    "grad_norm": (0.469, 0.472, 0.430),
    "grasp": (0.385, 0.388, 0.395),
    "snip": (0.472, 0.474, 0.433),
    "synflow": (0.581, 0.568, 0.561),
    "nwot": (0.522, 0.535, 0.527),
    "zen": (0.236, 0.236, 0.277),
    "gradsign": (0.619, 0.600, 0.593),
    "zico": (0.610, 0.610, 0.600),
    "xi_gsnr": (0.661, 0.658, 0.608),
}
MECO: Mapping[str, Row] = {
    "params": (0.72, 0.73, 0.69),
    "grad_norm": (0.42, 0.49, 0.47),
    "grasp": (0.39, 0.46, 0.45),
    "snip": (0.43, 0.49, 0.48),
    "fisher": (0.40, 0.46, 0.42),
    "synflow": (0.74, 0.76, 0.75),
    "nwot": (0.77, 0.80, 0.77),
    "jacob_cov": (0.73, 0.70, 0.70),
    "ntk": (0.76, 0.75, 0.72),
    "zen": (0.38, 0.36, 0.40),
    "knas": (0.20, 0.35, 0.42),
    "nasi": (0.44, 0.43, 0.63),
    "gradsign": (0.77, 0.79, 0.78),
    "zico": (0.80, 0.81, 0.79),
    "meco": (0.894, 0.883, 0.845),
    "meco_opt": (0.901, 0.890, 0.850),
}

SOURCES: Mapping[str, tuple[str, Mapping[str, Row]]] = {
    "AZ-NAS, tables 1, 4, 5": ("kendall", AZ_NAS),
    "xi-GSNR, table 1": ("kendall", XI_GSNR),
    "MeCo, table 1": ("spearman", MECO),
}
"""Where the figures stand, and whether they are Kendall or Spearman correlations."""
