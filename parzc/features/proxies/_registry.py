"""One record for each statistic and proxy: what it is, what it needs, which way is better."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from parzc.errors import InputError

if TYPE_CHECKING:
    from parzc.features.passes.passes import Passes

NodeValues = NDArray[np.float64]


@dataclass(frozen=True)
class ProxyInfo:
    """What a statistic or proxy is.

    A record with `node_values` is a statistic: one number at each node. Its proxy is `network_value` where that is
    given, else the sum over the nodes (in the log domain where `scale` is `log`).

    Args:
        name: public name; a variant of a formula has its own.
        meaning: one line for people.
        source: paper and formula.
        bigger_is_better: direction in which the paper expects accuracy to rise.
        passes: the attributes of `Passes` it reads; nothing else of the network is looked at.
        inputs: `data` (the batch given), `first` (its first input), `gaussian` (standard normal inputs of its shape),
            `ones` (an input of ones), or `none`.
        labels: whether labels enter.
        initialisation: `own` (the weights that the network has), `absolute` (their absolute values), `kaiming` or
            `normal` (drawn anew, see `_state.Drawn`).
        batch_norm: `batch` (statistics of the batch), `removed`, `layer norm` (in its place), or `-` where no
            activation enters.
        needs: what a network must have for the value to exist; networks without it get NaN and a reason.
        scale: `log` where values are natural logarithms.
        elements: what a node's value is summed over, so that a mean can be formed: `weights`, `channels`, or `node`
            where there is nothing to average.
        node_values: the value at each node, `(nodes,)`.
        block_values: the value at each primary block, `(blocks,)`, for the names in the pass `blocks`.
        network_value: the value of the network.
        across_batches: whether several batches are compared with each other; otherwise the value of several batches is
            the mean over them.
        definition: raised whenever the same name starts to mean other numbers.
    """

    name: str
    meaning: str
    source: str
    bigger_is_better: bool
    passes: tuple[str, ...]
    inputs: Literal["data", "first", "gaussian", "ones", "none"]
    labels: bool = False
    initialisation: Literal["own", "absolute", "kaiming", "normal"] = "own"
    batch_norm: Literal["batch", "removed", "layer norm", "-"] = "-"
    needs: str = ""
    scale: Literal["linear", "log"] = "linear"
    elements: Literal["weights", "channels", "node"] = "weights"
    node_values: "Callable[[Passes], NodeValues] | None" = None
    block_values: "Callable[[Passes], NodeValues] | None" = None
    network_value: "Callable[[Passes], float] | None" = None
    across_batches: bool = False
    definition: int = 1

    @property
    def has_nodes(self) -> bool:
        """Return whether this is also a statistic, with one value at each node."""
        return self.node_values is not None

    def define(self) -> dict[str, str | bool | int]:
        """Return what fixes the numbers, to be kept with features and compared before they are used."""
        record = asdict(self)
        keys = ("inputs", "labels", "initialisation", "batch_norm", "scale", "elements", "definition")
        return {("weights" if key == "initialisation" else key): record[key] for key in keys}


_PROXIES: dict[str, ProxyInfo] = {}


def register(info: ProxyInfo) -> ProxyInfo:
    """Add a record to the registry.

    Raises:
        ValueError: if the name is taken or the record computes nothing.
    """
    if info.name in _PROXIES:
        raise ValueError(f"a proxy called '{info.name}' is already registered")
    if info.node_values is None and info.network_value is None:
        raise ValueError(f"proxy '{info.name}' computes nothing: give node_values or network_value")
    _PROXIES[info.name] = info
    return info


def list_proxies() -> list[str]:
    """Return the names of all proxies, in the order of registration."""
    return list(_PROXIES)


def list_statistics() -> list[str]:
    """Return the names of the proxies that also have one value at each node."""
    return [name for name, info in _PROXIES.items() if info.has_nodes]


def list_block_statistics() -> list[str]:
    """Return the names of the proxies that also have one value at each primary block."""
    return [name for name, info in _PROXIES.items() if info.block_values is not None]


def proxy_info(name: str) -> ProxyInfo:
    """Return the record of a proxy.

    Raises:
        InputError: if there is no such proxy.
    """
    if name not in _PROXIES:
        raise InputError(f"there is no proxy '{name}'; choose from {', '.join(_PROXIES)}")
    return _PROXIES[name]


def resolve(names: "Iterator[str] | list[str] | tuple[str, ...] | None") -> list[ProxyInfo]:
    """Return the records of `names` in the order of registration, all of them for `None`."""
    if names is None:
        return list(_PROXIES.values())
    wanted = {proxy_info(name).name for name in names}
    return [info for name, info in _PROXIES.items() if name in wanted]
