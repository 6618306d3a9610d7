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

from parzc.evaluation.protocol import Learner
from parzc.models.bayesian import BayesianLinear
from parzc.models.fusion import FusedRanker, graph_encoder
from parzc.models.mixer import MABN
from parzc.ranker.estimator import Inputs, Ranker
from parzc.ranker.training import train

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

    def forward(self, _: Tensor, *graph: Tensor) -> Tensor:
        score: Tensor = self.regressor(self.graph(*graph))
        return score.squeeze(-1)


class StatisticsAlone(nn.Module):
    """A model of the node statistics that leaves the graph aside."""

    def __init__(self, nodes: nn.Module) -> None:
        super().__init__()
        self.nodes = nodes

    def forward(self, statistics: Tensor, *_: Tensor) -> Tensor:
        score: Tensor = self.nodes(statistics)
        return score.flatten(1).squeeze(-1) if score.ndim > 1 else score


class Parts(Ranker):
    """The preset `paper` made of some of its parts: NP (a GCN), mixer or MLP, Bayesian layers (BN) or plain ones."""

    def __init__(self, parts: str = "mixer+BN", seed: int = 0) -> None:
        # Every variant reads the same inputs and learns at the same rate, so that the parts alone differ.
        super().__init__("paper", SPACE, seed, {"graph": "gcn"})
        self.parts = parts

    def _train_networks(self, inputs: Inputs, targets: Tensor, _: Inputs) -> list[nn.Module]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 * self.seed)
            model = assembled(self.parts.split("+"), inputs)
        train(model, inputs, targets, self.preset_.training, 1000 * self.seed)
        return [model]


def assembled(parts: list[str], inputs: Inputs) -> nn.Module:
    """Return the untrained model made of `parts`."""
    width, bayesian = inputs[0].shape[1], "BN" in parts
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
        return StatisticsAlone(nodes)
    graph = graph_encoder("gcn", inputs[1].shape[-1], dim=DIM)
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
