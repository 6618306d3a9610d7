"""Registers proxies that have most of their record in common."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict, TypeVar, Unpack

from parzc.features.proxies._info import BatchNorm, Elements, Initialisation, Inputs, NodeValues, ProxyInfo, Scale
from parzc.features.proxies._registry import register

if TYPE_CHECKING:
    from parzc.features.passes.passes import Passes

NodeFunction = TypeVar("NodeFunction", bound="Callable[[Passes], NodeValues]")
NetworkFunction = TypeVar("NetworkFunction", bound="Callable[[Passes], float]")


class Defaults(TypedDict, total=False):
    """The fields of `ProxyInfo` that the proxies of a family may have in common."""

    bigger_is_better: bool
    passes: tuple[str, ...]
    inputs: Inputs
    labels: bool
    initialisation: Initialisation
    batch_norm: BatchNorm
    needs: str
    scale: Scale
    elements: Elements
    across_batches: bool
    definition: int


class Fields(Defaults, total=False):
    """The fields of `ProxyInfo` that one proxy may set, in addition to those of its family."""

    node_values: "Callable[[Passes], NodeValues] | None"
    block_values: "Callable[[Passes], NodeValues] | None"
    network_value: "Callable[[Passes], float] | None"


class Family:
    """Proxies with the same defaults; each field of a single proxy may still be set to something else.

    ```python
    gradients = Family(passes=("gradients",), labels=True, batch_norm="batch")

    @gradients.statistic("largest", "largest absolute gradient of a weight", "this example", elements="node")
    def largest(passes):
        return np.array([node.gradient.abs().max().item() for node in passes.gradients])
    ```

    Args:
        defaults: fields of `ProxyInfo`, by name.
    """

    def __init__(self, **defaults: Unpack[Defaults]) -> None:
        self.defaults = defaults

    def add(self, name: str, meaning: str, source: str, **fields: Unpack[Fields]) -> ProxyInfo:
        """Register a proxy and return its record; `fields` come before the defaults of the family.

        Raises:
            InputError: if the name is taken, or no function is given.
        """
        return register(ProxyInfo(name, meaning, source, **{**self.defaults, **fields}))  # type: ignore[arg-type]

    def statistic(
        self, name: str, meaning: str, source: str, **fields: Unpack[Defaults]
    ) -> Callable[[NodeFunction], NodeFunction]:
        """Register the decorated function, which returns a value for each node; its sum is the value of the network."""

        def decorate(function: NodeFunction) -> NodeFunction:
            self.add(name, meaning, source, node_values=function, **fields)
            return function

        return decorate

    def proxy(
        self, name: str, meaning: str, source: str, **fields: Unpack[Defaults]
    ) -> Callable[[NetworkFunction], NetworkFunction]:
        """Register the decorated function, which returns the value of the network."""

        def decorate(function: NetworkFunction) -> NetworkFunction:
            self.add(name, meaning, source, network_value=function, **fields)
            return function

        return decorate
