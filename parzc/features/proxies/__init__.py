"""Every zero-cost proxy, one family in each file, and the registry that they are found in."""

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
from parzc.features.proxies._registry import (
    ProxyInfo,
    list_block_statistics,
    list_proxies,
    list_statistics,
    proxy_info,
)

__all__ = [
    "ProxyInfo",
    "az_nas",
    "cost",
    "dss",
    "gradient_statistics",
    "jacobian",
    "kernel",
    "list_block_statistics",
    "list_proxies",
    "list_statistics",
    "meco",
    "ncd",
    "patterns",
    "proxy_info",
    "saliency",
    "synflow",
    "zen",
]
