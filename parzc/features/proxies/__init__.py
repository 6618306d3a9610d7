"""Every zero-cost proxy, one family in each file, and the registry in which they are found by name.

A zero-cost proxy is a number for an untrained network that should rise with the accuracy after training. A family is a
group of proxies with common properties, such as the pass that they read.

- `_info.py`: `ProxyInfo`, the record of one proxy; `_family.py`: `Family`, which registers proxies that have common
  defaults.
- `_registry.py`: the proxies by name; `_references.py`: files and modules with proxies from outside the package.
- `cost`: parameters, multiply-accumulates, layers. `saliency`: gradients and weights (snip, grasp, fisher ...).
  `synflow`, `dss`: synaptic flow. `gradient_statistics`: gradients of several samples (zico, gsnr, gradsign).
  `jacobian`: output against input. `kernel`: the neural tangent kernel. `patterns`, `ncd`: which units are active.
  `meco`: correlations between channels. `zen`: how far features move. `az_nas`: primary blocks.
- `aggregation.py`: several proxies joined by rank.

A proxy of one's own is written with `Family` and the names that are exported here; docs/own_proxy.md is the guide.
"""

from parzc.features.passes.passes import Passes, Undefined
from parzc.features.proxies import (
    az_nas,
    cost,
    dss,
    gradient_statistics,
    jacobian,
    kernel,
    meco,
    ncd,
    patterns,
    saliency,
    synflow,
    zen,
)
from parzc.features.proxies._family import Family
from parzc.features.proxies._info import NodeValues, ProxyInfo
from parzc.features.proxies._registry import (
    list_block_statistics,
    list_proxies,
    list_statistics,
    load_proxies,
    proxy_info,
    register,
)

__all__ = [
    "Family",
    "NodeValues",
    "Passes",
    "ProxyInfo",
    "Undefined",
    "az_nas",
    "cost",
    "dss",
    "gradient_statistics",
    "jacobian",
    "kernel",
    "list_block_statistics",
    "list_proxies",
    "list_statistics",
    "load_proxies",
    "meco",
    "ncd",
    "patterns",
    "proxy_info",
    "register",
    "saliency",
    "synflow",
    "zen",
]
