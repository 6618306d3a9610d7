"""Architecture to numbers: statistics, proxies, extraction, the store."""

from parzc.features import cost, jacobian, patterns, saliency, synflow
from parzc.features._record import NodeFeatures
from parzc.features._registry import ProxyInfo, list_proxies, list_statistics, proxy_info
from parzc.features.build import ExtractionConfig, build_store
from parzc.features.extract import Scores, extract, score
from parzc.features.store import FeatureStore, shipped
from parzc.features.table import FeatureTable

__all__ = [
    "ExtractionConfig",
    "FeatureStore",
    "FeatureTable",
    "NodeFeatures",
    "ProxyInfo",
    "Scores",
    "build_store",
    "cost",
    "extract",
    "jacobian",
    "list_proxies",
    "list_statistics",
    "patterns",
    "proxy_info",
    "saliency",
    "score",
    "shipped",
    "synflow",
]
