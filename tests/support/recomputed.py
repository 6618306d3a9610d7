"""Features that are computed again, perhaps on another processor, against those of a shipped store."""

from collections.abc import Collection

import numpy as np

from parzc.features import FeatureTable

FLOW = 10.0
"""Natural logarithms below the largest flow of a network down to which `synflow_bn` is compared."""


def assert_recomputed(here: FeatureTable, there: FeatureTable, rounding: Collection[str] = ()) -> None:
    """Compare statistics and proxies: convolutions in float32 are added up in another order on another processor.

    `plain` is a signed sum, zero but for rounding wherever batch norm follows, so it is compared with the size of the
    largest. For `synflow_bn` an input of ones leaves channels in front of batch norm constant but for rounding, whose
    sign then decides what ReLU lets through: nodes with nearly no flow differ, and those that make up the proxy by less
    than a factor of e. `gsnr_variance` and its like are ratios to variances, some of which vanish but for rounding.
    Left out are the names in `rounding`, which are nothing else in these networks.
    """
    for got, expected in ((here.statistics, there.statistics), (here.scores, there.scores)):
        for name, values in expected.items():
            if name in rounding:
                continue
            compared = np.full(len(values), True)
            if name == "synflow_bn" and len(values) == len(there.row):
                largest = np.array([values[there.row == i].max() for i in range(len(there))])
                compared = ~(values < largest[there.row] - FLOW)
            size = np.abs(values[np.isfinite(values)]).max(initial=0)
            tolerance = 1.0 if name == "synflow_bn" else (1e-3 if name == "plain" else 1e-5) * size
            relative = 0.25 if "gsnr_variance" in name else 1e-2
            np.testing.assert_allclose(got[name][compared], values[compared], relative, tolerance, err_msg=name)
