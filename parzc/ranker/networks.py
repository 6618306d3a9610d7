"""The mixers of an ensemble as members: made from a preset, perhaps pre-trained, trained on labels.

In this file a *network* is a model that ranks, not a candidate that is ranked."""

import math
from typing import Self

import torch
from torch import Tensor, nn

from parzc.encoding.inputs import ARCH_PARTS, Inputs, Shapes
from parzc.models._member import Member
from parzc.models.fusion import FusedRanker, StatisticsRanker, graph_encoder
from parzc.models.mixer import MABN
from parzc.models.token_mixer import TokenMixer
from parzc.ranker.presets import Preset
from parzc.ranker.pretraining import WarmStart, continued
from parzc.ranker.training import TrainingConfig, train


class Network(Member[Inputs]):
    """A mixer that is trained on the order (or the values) of labels.

    Args:
        network: maps inputs of `n` candidates to scores `(n,)`.
        training: how it is trained.
    """

    Config = TrainingConfig

    def __init__(self, network: nn.Module, training: TrainingConfig) -> None:
        super().__init__()
        self.network, self.training_config = network, training

    def fit(self, inputs: Inputs, targets: Tensor, pool: Inputs, seed: int) -> Self:  # noqa: ARG002
        """Train on `(n,)` labels in any unit, without target transform; `pool` is not read."""
        train(self.network, inputs, targets.float(), self.training_config, seed)
        return self

    def forward(self, inputs: Inputs) -> Tensor:
        """Return scores `(n,)`, bigger is better."""
        score: Tensor = self.network(inputs)
        return score


def make_network(preset: Preset, shapes: Shapes, seed: int) -> nn.Module:
    """Return the untrained network of a preset for inputs with rows of `shapes`, initialised from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if preset.graph != "none":
            graph = graph_encoder(preset.graph, shapes["operations"][-1], **preset.graph_args)
            nodes = MABN(shapes["nodes"][0], **preset.model_args, outputs=graph.dim)
            return FusedRanker(nodes, graph, graph.dim)
        if preset.model == "mabn":
            return StatisticsRanker(MABN(shapes["nodes"][0], **preset.model_args))
        (tokens, channels), (scores,) = shapes["tokens"], shapes["scores"]
        arch = sum(math.prod(shapes[name]) for name in ARCH_PARTS if name in shapes)
        return TokenMixer(tokens, channels, scores, arch, **preset.model_args)


def start_networks(preset: Preset, pool: Inputs, seed: int, warm_start: WarmStart) -> list[Network]:
    """Return the mixers of a preset as they are before they see a label, each with a random seed of its own.

    One token mixer is pre-trained; all token mixers of the ensemble are copies of it, each with a new head (last
    layer). Other mixers start from random weights.

    Args:
        preset: settings.
        pool: inputs of candidates, labelled or not.
        seed: of the ranker.
        warm_start: what earlier fits have pre-trained.
    """
    seeds = network_seeds(preset, seed)
    networks = [make_network(preset, pool.shapes, own) for own in seeds]
    if networks and preset.pretraining.steps and isinstance(networks[0], TokenMixer):
        warm_start.pretrain(networks[0], pool, preset.pretraining, seeds[0])  # type: ignore[arg-type]
        networks = [continued(networks[0], own) for own in seeds]
    return [Network(network, preset.training) for network in networks]


def network_seeds(preset: Preset, seed: int) -> list[int]:
    """Return the seed of each network of a ranker; those of two rankers differ."""
    return [1000 * seed + index for index in range(preset.mixers)]
