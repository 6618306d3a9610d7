"""Architecture to numbers: statistics, proxies, extraction, the store."""

from parzc.features import cost, saliency, synflow
from parzc.features._record import NodeFeatures
from parzc.features._registry import ProxyInfo, list_proxies, list_statistics, proxy_info
from parzc.features.extract import Scores, extract, score

__all__ = [
    "NodeFeatures",
    "ProxyInfo",
    "Scores",
    "cost",
    "extract",
    "list_proxies",
    "list_statistics",
    "proxy_info",
    "saliency",
    "score",
    "synflow",
]
