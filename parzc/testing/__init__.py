"""Contract suites for what is written outside the package; they need pytest.

- `proxies.py`: `ProxyContract`, what every proxy keeps to.
"""

from parzc.testing.proxies import ProxyContract

__all__ = ["ProxyContract"]
