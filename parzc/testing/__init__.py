"""Contract suites to run, with pytest, on a search space or a proxy of one's own.

```python
from parzc.testing import SpaceContract


class TestMine(SpaceContract):
    space = "my_space.py:MySpace"  # or the class, or an object
```

`ProxyContract` is the same for a proxy: `proxy = "my_proxy.py:my_proxy"`.

`pytest` with this file then runs every test of the suite. pytest is imported only when a suite is asked for.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parzc.testing.proxies import ProxyContract
    from parzc.testing.spaces import SpaceContract

__all__ = ["ProxyContract", "SpaceContract"]

_SUITES = {"ProxyContract": "parzc.testing.proxies", "SpaceContract": "parzc.testing.spaces"}


def __getattr__(name: str) -> object:
    if name not in _SUITES:
        raise AttributeError(f"module 'parzc.testing' has no attribute '{name}'")
    import pytest

    # Failed assertions of a suite show their values like those of the test file itself.
    pytest.register_assert_rewrite(_SUITES[name])
    return getattr(importlib.import_module(_SUITES[name]), name)
