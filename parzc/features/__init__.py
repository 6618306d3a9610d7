"""Network to numbers: statistics, proxies, their extraction, and the store that keeps them.

A statistic is a number at each node (weight of a convolution or linear map) of an untrained network, a proxy one number
for the network. A pass is one run over the network, from which several of them are computed.

- `passes/`: what one run over a network records. `proxies/`: what is computed from that, and the registry of names.
- `extraction/`: the features of one network, or of many architectures on all cores or machines.
- `store/`: the features of one network, the table of many, and the folder that keeps them.
"""

from parzc.features.extraction.many_archs import ExtractionConfig, build_store
from parzc.features.extraction.one_network import Scores, extract, score
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
    load_proxies,
    proxy_info,
)
from parzc.features.proxies.aggregation import aggregate_ranks
from parzc.features.proxies.az_nas import AZ_NAS, AZ_NAS_VIT
from parzc.features.store import FeatureStore, shipped
from parzc.features.store.record import NodeFeatures
from parzc.features.store.table import FeatureTable

__all__ = [
    "AZ_NAS",
    "AZ_NAS_VIT",
    "ExtractionConfig",
    "FeatureStore",
    "FeatureTable",
    "NodeFeatures",
    "ProxyInfo",
    "Scores",
    "aggregate_ranks",
    "az_nas",
    "build_store",
    "cost",
    "dss",
    "extract",
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
    "saliency",
    "score",
    "shipped",
    "synflow",
    "zen",
]
