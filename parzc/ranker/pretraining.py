"""Pre-training of a mixer without any label: predict hidden proxies from what else is known of a network."""

import copy
from collections import OrderedDict
from dataclasses import dataclass, replace

import joblib
import torch
from torch import Tensor, nn

from parzc.encoding.inputs import TokenInputs
from parzc.models.token_mixer import TokenMixer


@dataclass(frozen=True)
class PretrainingConfig:
    """How a mixer is pre-trained.

    Args:
        steps: of AdamW; 0 for no pre-training.
        batch: networks in one step.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: decoupled.
        hidden_tokens: probability that a token is hidden. For proxies there is no setting: in each step the probability
            is drawn anew for each network, uniformly from 0 to 1.
    """

    steps: int = 1000
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    hidden_tokens: float = 0.3


class WarmStart:
    """Keeps pre-trained mixers, so that a later fit with more labels does not repeat what needs no label.

    `Ranker.fit` returns a ranker with a warm start (`warm_start_`), which may be handed to the next fit. A mixer of it
    is used there only if the untrained mixer, the pool, the settings and the seed are the same (a hash of all is
    compared); otherwise the next fit pre-trains its own mixer and adds it. Results do not depend on it, only the time
    does.

    Args:
        most: mixers to keep; the one that was used longest ago goes first.
    """

    def __init__(self, most: int = 32) -> None:
        self.most = most
        self.states: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    def pretrain(self, model: TokenMixer, pool: TokenInputs, config: PretrainingConfig, seed: int) -> None:
        """Pre-train as the function `pretrain` does, or take the mixer that was pre-trained in the same way."""
        tensors = [t.detach().cpu().numpy() for t in (*model.state_dict().values(), *pool.parts.values())]
        key = joblib.hash((repr(model), config, seed, tensors))
        if key in self.states:
            model.load_state_dict(self.states[key])
            model.eval()
        else:
            pretrain(model, pool, config, seed)
            self.states[key] = {name: value.clone() for name, value in model.state_dict().items()}
        self.states.move_to_end(key)
        while len(self.states) > self.most:
            self.states.popitem(last=False)


def pretrain(model: TokenMixer, pool: TokenInputs, config: PretrainingConfig, seed: int) -> list[float]:
    """Train everything but the head (last layer) of `model` to predict hidden proxies, and all block statistics.

    Args:
        model: the mixer.
        pool: inputs of networks, labelled or not.
        config: settings.
        seed: of networks, of what is hidden, dropout and drawn weights; the global random state is left alone.

    Returns:
        The loss of each step: mean squared error over hidden proxies, plus that over block statistics; none where there
        is neither to predict.
    """
    targets = pool.scores.shape[1], pool.blocks.shape[1]
    if not sum(targets):
        return []
    history = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        predict = nn.Linear(model.norm.normalized_shape[0], sum(targets))
        parameters = [p for name, p in model.named_parameters() if not name.startswith("head")]
        options = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
        optimizer = torch.optim.AdamW([*parameters, *predict.parameters()], **options)  # type: ignore[arg-type]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, max(config.steps, 2))
        model.train()
        for _ in range(config.steps):
            loss = _loss(model, predict, pool, config)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            history.append(loss.item())
    model.eval()
    return history


def _loss(model: TokenMixer, predict: nn.Linear, pool: TokenInputs, config: PretrainingConfig) -> Tensor:
    """Return the loss of a batch of networks that is drawn, as is what is hidden of them."""
    batch = pool[torch.randint(len(pool), (min(config.batch, len(pool)),))]
    count, scores, blocks = len(batch), batch.scores, batch.blocks
    shown = (torch.rand(count, scores.shape[1]) > torch.rand(count, 1)).float()
    seen = (torch.rand(count, batch.tokens.shape[1], 1) > config.hidden_tokens).float()
    predicted = predict(model.embed(replace(batch, tokens=batch.tokens * seen), shown))
    of_scores, of_blocks = torch.split(predicted, [scores.shape[1], blocks.shape[1]], dim=1)
    hidden = 1 - shown
    loss: Tensor = ((of_scores - scores).square() * hidden).sum() / hidden.sum().clamp_min(1)
    if blocks.shape[1]:
        loss = loss + (of_blocks - blocks).square().mean()
    return loss


def continued(model: TokenMixer, seed: int) -> TokenMixer:
    """Return a copy of a pre-trained mixer with a head drawn from `seed`."""
    member = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        member.head.reset_parameters()
    return member
