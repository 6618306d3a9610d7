"""NCD: proxies of activation patterns that do not turn negative for networks with many nonlinear layers.

The score of `nwot` and `swap` rises with the number of nonlinear layers only up to a turning point, behind which better
networks score lower. NCD masks activations and replaces batch norm by layer norm before it counts. Where the supplement
is silent, `_masked` takes the reading under which the scores of growing networks keep rising (docs/proxies.md).
"""

from parzc.features.passes.passes import Passes
from parzc.features.proxies._family import Family
from parzc.features.proxies.patterns import log_determinant

_masked = Family(passes=("masked",), batch_norm="layer norm", needs="rectifiers")
_PAPER = "NCD, ICCV 2025, app. A and C: masking rate .5, layer norm over channels and positions"


@_masked.proxy("ncd_nwot", "nwot with masked activations and layer norm for batch norm", _PAPER)
def _ncd_nwot(passes: Passes) -> float:
    return log_determinant(passes.masked)


@_masked.proxy("ncd_swap", "swap with masked activations and layer norm for batch norm", _PAPER)
def _ncd_swap(passes: Passes) -> float:
    return float(passes.masked.distinct_units)
