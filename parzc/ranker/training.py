"""The training loop of the mixers, the neural networks of a ranker."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from parzc.errors import InputError
from parzc.models.bayesian import kl_divergence
from parzc.ranker.losses import LOSSES, diff_kendall

Rows = TypeVar("Rows", bound=Any)


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    Args:
        loss: name in `LOSSES`, or several of them joined by `+`, whose sum is taken.
        alpha: steepness of `diff_kendall` on the scores' side; the other losses do not use it.
        epochs: passes over the labelled architectures.
        batch: architectures in one step; all of them if 0.
        learning_rate: peak learning rate of Adam.
        weight_decay: of Adam; added to the gradient, or decoupled from it where `decoupled`.
        decoupled: AdamW instead of Adam.
        warmup: fraction of the steps over which the learning rate rises before its cosine decay.
        kl_weight: weight of the Kullback-Leibler divergence from the prior, over the number of labels.
    """

    loss: str = "diff_kendall"
    alpha: float = 0.5
    epochs: int = 200
    batch: int = 10
    learning_rate: float = 1e-4
    weight_decay: float = 1e-3
    decoupled: bool = False
    warmup: float = 0.0
    kl_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in self.loss.split("+"):
            if name not in LOSSES:
                raise InputError(f"there is no loss '{name}'; choose one of {', '.join(LOSSES)}, or a sum of them")


def train(model: nn.Module, inputs: Rows, labels: Tensor, config: TrainingConfig, seed: int) -> list[float]:
    """Fit `model` to the order (or values) of `labels` and leave it in evaluation mode.

    Args:
        model: maps `inputs[rows]` to scores `(rows,)`.
        inputs: one row for each labelled architecture; a tensor, or `parzc.encoding.inputs.Inputs`.
        labels: `(n,)`, bigger is better.
        config: settings.
        seed: of batches, dropout and drawn weights; the global random state is left alone.

    Returns:
        The mean loss of each epoch.
    """
    targets = (labels - labels.mean()) / labels.std().clamp_min(1e-12)
    n = len(targets)
    size = config.batch or n
    loss_of = _loss(config)
    optimizer = _optimizer(model, config)
    schedule = _schedule(optimizer, config, steps=config.epochs * -(-n // size))
    history = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.train()
        for _ in range(config.epochs):
            total = 0.0
            for rows in torch.split(torch.randperm(n), size):
                loss = loss_of(model(inputs[rows]), targets[rows])
                if config.kl_weight:
                    loss = loss + config.kl_weight / n * kl_divergence(model)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                total += loss.item() * len(rows)
            history.append(total / n)
    model.eval()
    return history


def _loss(config: TrainingConfig) -> Callable[[Tensor, Tensor], Tensor]:
    terms = [LOSSES[name] for name in config.loss.split("+")]
    terms = [partial(diff_kendall, alpha=config.alpha) if term is diff_kendall else term for term in terms]
    first, *others = terms
    return lambda scores, targets: sum((term(scores, targets) for term in others), first(scores, targets))


def _optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.decoupled else torch.optim.Adam
    return kind(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def _schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    rising = round(config.warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        done = (step - rising) / max(steps - rising, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
