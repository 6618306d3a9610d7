"""Published figures; rank correlations of proxies over NAS-Bench-201: CIFAR-10, CIFAR-100, ImageNet16-120."""

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

PREDICTORS: Mapping[str, Mapping[str, float]] = {
    "NP": {"78": 0.343, "156": 0.413, "469": 0.584, "781": 0.634, "1563": 0.646},
    "NAO": {"78": 0.467, "156": 0.493, "469": 0.470, "781": 0.522, "1563": 0.526},
    "Arch2Vec": {"78": 0.542, "156": 0.573, "469": 0.601, "781": 0.606, "1563": 0.605},
    "TNASP": {"78": 0.539, "156": 0.589, "469": 0.640, "781": 0.689, "1563": 0.724},
    "PINAT": {"78": 0.549, "156": 0.631, "469": 0.706, "781": 0.761, "1563": 0.784},
    "ParZC": {"78": 0.646, "156": 0.706, "469": 0.806, "781": 0.832, "1563": 0.855},
}
"""Kendall tau on CIFAR-10 by number of labels: ParZC, table 2."""

SEARCH: Mapping[str, tuple[str, str, str]] = {
    "random search": ("93.70 ± 0.36", "71.04 ± 1.07", "44.57 ± 1.25"),
    "REA": ("93.92 ± 0.30", "71.84 ± 0.99", "45.15 ± 0.89"),
    "BOHB": ("93.61 ± 0.52", "70.85 ± 1.28", "44.42 ± 1.49"),
    "NWOT": ("92.96 ± 0.81", "69.98 ± 1.22", "44.44 ± 2.10"),
    "TE-NAS": ("93.90 ± 0.47", "71.24 ± 0.56", "42.38 ± 0.46"),
    "EZNAS": ("93.63 ± 0.12", "69.82 ± 0.16", "43.47 ± 0.20"),
    "ParZC": ("94.36 ± 0.01", "73.49 ± 0.02", "46.34 ± 0.04"),
}
"""Test accuracy of what a search finds: ParZC, table 3, which does not say how many architectures were trained."""

PARTS: Mapping[str, float] = {
    "NP": 0.3429,
    "mixer": 0.6229,
    "MLP": 0.5464,
    "BN": 0.5012,
    "NP+mixer": 0.5979,
    "NP+BN": 0.5481,
    "mixer+BN": 0.6769,
    "NP+mixer+BN": 0.6889,
}
"""Kendall tau of parts of ParZC at 78 labels, NAS-Bench-201: ParZC, table 6."""

LOSSES: Mapping[str, float] = {
    "mse": 0.6569,
    "pairwise": 0.6564,
    "mse+pairwise": 0.6462,
    "mse+diff_kendall": 0.6556,
    "pairwise+diff_kendall": 0.6441,
    "mse+pairwise+diff_kendall": 0.6636,
    "diff_kendall": 0.6683,
}
"""Kendall tau by loss at 178 labels, NAS-Bench-101: ParZC, table 7."""

SPACES: Mapping[tuple[str, int], tuple[str, float]] = {
    ("nb101", 100): ("ParZC, table 2", 0.693),
    ("autoformer-tiny", 100): ("ParZC, table 5", 0.414),
}
"""Kendall tau in other spaces by number of labels, on other architectures than here; table 5 does not say how many."""
