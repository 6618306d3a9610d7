"""parzc ranks neural architectures before anyone trains them."""

from importlib.metadata import version

from parzc import datasets, features, metrics, uncertainty
from parzc.datasets import Choices
from parzc.errors import InputError
from parzc.features import extract, list_proxies, proxy_info, score

__version__ = version("parzc")
__all__ = [
    "Choices",
    "InputError",
    "Ranker",
    "Search",
    "__version__",
    "datasets",
    "extract",
    "features",
    "list_proxies",
    "metrics",
    "proxy_info",
    "score",
    "uncertainty",
]


def __getattr__(name: str) -> object:
    # The ranker brings scikit-learn and blitz along, which take seconds to import; extraction needs neither.
    if name == "Ranker":
        from parzc.ranker import Ranker

        return Ranker
    if name == "Search":
        from parzc.search import Search

        return Search
    raise AttributeError(f"module 'parzc' has no attribute '{name}'")
