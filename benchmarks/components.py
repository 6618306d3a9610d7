"""What each part of ParZC, each loss and each part of the default ranker is worth at 78 labels, recorded.

    python benchmarks/components.py --table nb201.csv.gz

The parts of ParZC are those of the paper's tables 6 and 8, each with the features and the training of the preset
`paper`; the losses are those of its table 7. Resumable like `nb201.py`.
"""

import argparse
import os
from functools import partial
from pathlib import Path

import torch
from _records import RESULTS
from nb201 import SPACE, Methods, complete, read_benchmark
from torch import Tensor, nn

from parzc.encoding.inputs import Inputs, PaddedInputs
from parzc.evaluation.protocol import Learner
from parzc.models.bayesian import BayesianLinear
from parzc.models.fusion import FusedRanker, StatisticsRanker, graph_encoder
from parzc.models.mixer import MABN
from parzc.ranker.ensemble import Array, Ensemble
from parzc.ranker.estimator import Ranker
from parzc.ranker.networks import Network
from parzc.ranker.presets import Preset
from parzc.ranker.pretraining import WarmStart

TARGET = "cifar10_test"
LABELS = 78
DIM = 64
"""Of the embeddings that are added, and of the mixer: the size that `paper` has with an encoder of architectures."""
PARTS = ("NP", "mixer", "MLP", "BN", "NP+mixer", "NP+BN", "mixer+BN", "NP+mixer+BN")
LOSSES = ("mse", "pairwise", "mse+pairwise", "mse+diff_kendall", "pairwise+diff_kendall")
LOSSES = (*LOSSES, "mse+pairwise+diff_kendall", "diff_kendall")


class GraphAlone(nn.Module):
    """The encoder of architectures with a regressor behind it: the predictor that the paper calls NP."""

    def __init__(self, graph: nn.Module, dim: int) -> None:
        super().__init__()
        self.graph = graph
        self.regressor = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(0.1), nn.Linear(dim, 1))

    def forward(self, inputs: PaddedInputs) -> Tensor:
        score: Tensor = self.regressor(self.graph(*inputs.graphs.parts.values()))
        return score.squeeze(-1)


class Score(nn.Module):
    """Makes scores `(n,)` of embeddings `(n, 1)`."""

    def forward(self, embedded: Tensor) -> Tensor:
        return embedded.flatten(1).squeeze(-1)


class Parts(Ranker):
    """The preset `paper` made of some of its parts: NP (a GCN), mixer or MLP, Bayesian layers (BN) or plain ones."""

    def __init__(self, parts: str = "mixer+BN", seed: int = 0) -> None:
        # Every variant reads the same inputs and learns at the same rate, so that the parts alone differ.
        super().__init__("paper", SPACE, seed, {"graph": "gcn"})
        self.parts = parts

    def _ensemble(self, inputs: Inputs) -> Ensemble:
        return PartsEnsemble(self.preset_, inputs.shapes, len(inputs), self.seed, self.parts.split("+"))


class PartsEnsemble(Ensemble):
    """An ensemble of one network that is made of `parts`."""

    def __init__(
        self, preset: Preset, shapes: dict[str, tuple[int, ...]], labelled: int, seed: int, parts: list[str]
    ) -> None:
        super().__init__(preset, shapes, labelled, seed)
        self.parts = parts

    def _fit_networks(self, inputs: Inputs, labels: Array, pool: Inputs, _: WarmStart) -> list[Network]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 * self.seed)
            network = Network(assembled(self.parts, self.shapes), self.preset.training)
        return [network.fit(inputs, torch.from_numpy(labels), pool, 1000 * self.seed)]


def assembled(parts: list[str], shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    """Return the untrained network made of `parts`."""
    width, bayesian = shapes["nodes"][0], "BN" in parts
    outputs = DIM if "NP" in parts else 1
    nodes: nn.Module | None = None
    if "mixer" in parts:
        nodes = MABN(width, dim=DIM, depth=2, outputs=outputs)
    elif bayesian or "MLP" in parts:
        layers = BayesianLinear(width, 256), nn.ReLU(), nn.Dropout(0.18), BayesianLinear(256, 64), nn.ReLU()
        nodes = nn.Sequential(*layers, nn.Dropout(0.18), BayesianLinear(64, outputs))
    for layer in nodes.modules() if nodes else ():
        if isinstance(layer, BayesianLinear):
            # A frozen layer always has its mean weights: it is a plain linear layer.
            layer.freeze = not bayesian
    if "NP" not in parts:
        assert nodes is not None
        return StatisticsRanker(nodes if isinstance(nodes, MABN) else nn.Sequential(nodes, Score()))
    graph = graph_encoder("gcn", shapes["operations"][-1], dim=DIM)
    return GraphAlone(graph, DIM) if nodes is None else FusedRanker(nodes, graph, DIM)


def with_loss(loss: str, seed: int) -> Learner:
    return Ranker("paper", SPACE, seed, {"model.dim": DIM, "model.depth": 2, "training.loss": loss})


def changed(settings: dict[str, object], seed: int) -> Learner:
    return Ranker("default", SPACE, seed, settings)


GP, TREES = "gaussian_process", "boosted_trees"
CHANGES: dict[str, dict[str, object]] = {
    "default": {},
    "without pre-training": {"pretraining.steps": 0},
    "without mixers": {"mixers": 0},
    "without gaussian process": {"others": [TREES]},
    "without boosted trees": {"others": [GP]},
    "mixers alone": {"others": []},
    "mixers alone, without pre-training": {"others": [], "pretraining.steps": 0},
    "one mixer alone": {"others": [], "mixers": 1},
    "without block statistics": {"blocks": []},
    "without network scores": {"scores": []},
    "mixers with mean squared error": {"training.loss": "mse"},
    "mixers with pairwise loss": {"training.loss": "pairwise"},
}


def learners() -> dict[str, Methods]:
    """Return the methods of each record."""
    return {
        "components": {parts: ("ranker", partial(Parts, parts)) for parts in PARTS},
        "losses": {loss: ("ranker", partial(with_loss, loss)) for loss in LOSSES},
        "default": {name: ("ranker", partial(changed, settings)) for name, settings in CHANGES.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--records", nargs="+", default=tuple(learners()), choices=tuple(learners()))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    benchmark = read_benchmark(args.table, TARGET)
    about = {"space": SPACE, "table": Path(args.table).name, "target": TARGET}
    for name in args.records:
        path = RESULTS / f"{SPACE}-{name}.json"
        complete(path, about, benchmark, LABELS, learners()[name], args.seeds, args.workers)


if __name__ == "__main__":
    main()
