"""The record of one proxy: what it is, what it needs, which way is better, and the functions that compute it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from parzc.features.passes.passes import Passes

NodeValues = NDArray[np.float64]
"""One number for each node (or each primary block), `(nodes,)`."""

Inputs = Literal["data", "first", "gaussian", "ones", "none"]
Initialisation = Literal["own", "absolute", "kaiming", "normal"]
BatchNorm = Literal["batch", "removed", "layer norm", "-"]
Scale = Literal["linear", "log"]
Elements = Literal["weights", "channels", "node"]


@dataclass(frozen=True)
class ProxyInfo:
    """What a statistic or proxy is, and the functions that compute it.

    A record with `node_values` is a statistic: one number at each node. Its proxy is `network_value` where that is
    given, else the sum over the nodes (in the log domain where `scale` is `log`). The functions take the `Passes` of
    one network and batch; they raise `Undefined` where there is no value.

    Args:
        name: public name, in lower case; a variant of a formula has its own.
        meaning: one line for people, of 11 to 119 characters.
        source: paper and formula.
        bigger_is_better: whether a bigger value should mean a higher accuracy, as the paper of the proxy has it.
        passes: the attributes of `Passes` that the functions read; nothing else of the network is looked at.
        inputs: `data` (the batch given), `first` (its first input), `gaussian` (standard normal inputs of its shape),
            `ones` (an input of ones), or `none`.
        labels: whether labels enter.
        initialisation: with which weights the network runs: `own` (those that it has), `absolute` (their absolute
            values), `kaiming` or `normal` (drawn anew, see `parzc.features.passes.state.Drawn`).
        batch_norm: what batch norm does: `batch` (uses the statistics of the batch), `removed`, `layer norm` (stands in
            its place), or `-` where the value depends on no activation.
        needs: what a network must have for the value to exist; networks without it get NaN and a reason.
        scale: `log` where values are natural logarithms.
        elements: what a node's value is a sum over, so that an encoder can divide by their number: its `weights`, its
            output `channels`, or `node` where it is no such sum.
        node_values: the value at each node, `(nodes,)`.
        block_values: the value at each primary block, `(blocks,)`, for the names in the pass `blocks`.
        network_value: the value of the network.
        across_batches: whether several batches are compared with each other; otherwise the value of several batches is
            the mean over them.
        definition: raised whenever the same name starts to mean other numbers.
        origin: the file or module that worker processes load it from; filled in where it was named by a reference, and
            empty for the proxies of parzc.
    """

    name: str
    meaning: str
    source: str
    bigger_is_better: bool = True
    passes: tuple[str, ...] = ()
    inputs: Inputs = "data"
    labels: bool = False
    initialisation: Initialisation = "own"
    batch_norm: BatchNorm = "-"
    needs: str = ""
    scale: Scale = "linear"
    elements: Elements = "weights"
    node_values: "Callable[[Passes], NodeValues] | None" = None
    block_values: "Callable[[Passes], NodeValues] | None" = None
    network_value: "Callable[[Passes], float] | None" = None
    across_batches: bool = False
    definition: int = 1
    origin: str = field(default="", compare=False)

    @property
    def has_nodes(self) -> bool:
        """Return whether this is also a statistic, with one value at each node."""
        return self.node_values is not None

    def define(self) -> dict[str, str | bool | int]:
        """Return what fixes the numbers, to be kept with features and compared before they are used."""
        record = asdict(self)
        keys = ("inputs", "labels", "initialisation", "batch_norm", "scale", "elements", "definition")
        return {("weights" if key == "initialisation" else key): record[key] for key in keys}
