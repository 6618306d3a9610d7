"""Pre-training of a mixer without any label: predict hidden network scores from what else is known of a network."""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import joblib
import torch
from torch import Tensor, nn

from parzc.models.token_mixer import TokenMixer

KEPT = 32
"""Pre-trained mixers that a process remembers."""
_kept: OrderedDict[str, dict[str, Tensor]] = OrderedDict()


@dataclass(frozen=True)
class PretrainingConfig:
    """How a mixer is pre-trained.

    Args:
        steps: of AdamW; 0 for no pre-training.
        batch: networks in one step.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: decoupled.
        hidden_tokens: share of the tokens that are hidden. The share of hidden scores is drawn anew for each network.
    """

    steps: int = 1000
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    hidden_tokens: float = 0.3


def pretrain(model: TokenMixer, pool: Sequence[Tensor], config: PretrainingConfig, seed: int) -> list[float]:
    """Train everything but the head of `model` to tell hidden network scores, and block statistics, of networks.

    Args:
        model: the mixer.
        pool: tokens `(n, tokens, channels)`, network scores `(n, scores)`, block statistics `(n, columns)`, and
            descriptions `(n, columns)` where they enter.
        config: how.
        seed: of networks, of what is hidden, dropout and drawn weights; the global random state is left alone.

    Returns:
        The loss of each step: mean squared error over hidden scores, plus that over block statistics; none where there
        is neither to tell.
    """
    tokens, scores, blocks, *description = pool
    if not scores.shape[1] + blocks.shape[1]:
        return []
    history = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tell = nn.Linear(model.norm.normalized_shape[0], scores.shape[1] + blocks.shape[1])
        parameters = [p for name, p in model.named_parameters() if not name.startswith("head")] + [*tell.parameters()]
        options = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
        optimizer = torch.optim.AdamW(parameters, **options)  # type: ignore[arg-type]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, max(config.steps, 2))
        model.train()
        for _ in range(config.steps):
            rows = torch.randint(len(tokens), (min(config.batch, len(tokens)),))
            shown = (torch.rand(len(rows), scores.shape[1]) > torch.rand(len(rows), 1)).float()
            seen = (torch.rand(len(rows), tokens.shape[1], 1) > config.hidden_tokens).float()
            described = [part[rows] for part in description]
            told = tell(model.embed(tokens[rows] * seen, scores[rows], shown, described))
            of_scores, of_blocks = torch.split(told, [scores.shape[1], blocks.shape[1]], dim=1)
            hidden = 1 - shown
            loss = ((of_scores - scores[rows]).square() * hidden).sum() / hidden.sum().clamp_min(1)
            if blocks.shape[1]:
                loss = loss + (of_blocks - blocks[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            history.append(loss.item())
    model.eval()
    return history


def pretrain_once(model: TokenMixer, pool: Sequence[Tensor], config: PretrainingConfig, seed: int) -> None:
    """Pre-train as `pretrain` does, or recall what this process has learned from the same start, pool and seed.

    Labels come a few at a time, and no label enters: a ranker that is fitted again need not begin anew.
    """
    tensors = [t.detach().cpu().numpy() for t in (*model.state_dict().values(), *pool)]
    key = joblib.hash((repr(model), config, seed, tensors))
    if key in _kept:
        model.load_state_dict(_kept[key])
        model.eval()
    else:
        pretrain(model, pool, config, seed)
        _kept[key] = {name: value.clone() for name, value in model.state_dict().items()}
    _kept.move_to_end(key)
    while len(_kept) > KEPT:
        _kept.popitem(last=False)


def continued(model: TokenMixer, seed: int) -> TokenMixer:
    """Return a copy of a pre-trained mixer with a head drawn from `seed`."""
    member = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        member.head.reset_parameters()
    return member
