"""Synthetic features of NAS-Bench-201 networks whose labels are known, small enough to fit in a second."""

import numpy as np

from parzc.features import FeatureTable, NodeFeatures, list_proxies, proxy_info
from parzc.ranker import Ranker
from parzc.ranker.presets import PRESETS

STATISTICS = ("grad_norm", "snip", "fisher", "l2_norm", "synflow", "synflow_bn", "plain")
OTHER_SCORES = tuple(
    name for name in PRESETS["default"].scores if name not in (*STATISTICS, "params", "flops", "n_layers")
)
CONVOLUTIONAL = [name for name in list_proxies() if proxy_info(name).needs != "attention"]
"""The proxies that networks without attention have."""
NO_ATTENTION = {"dss": "the network has no attention, whose weights this indicator is about"}
CELLS = ("cells.0", "cells.6", "cells.12")
EDGES = ("0-1", "1-2", "0-3")
SMALL = {
    "training.loss": "diff_kendall", "training.alpha": 1.0, "training.epochs": 80, "training.batch": 0,
    "training.learning_rate": 1e-2, "training.weight_decay": 1e-2, "training.warmup": 0.2,
    "model.dim": 32, "model.depth": 1, "model.dropout": 0.0, "mixers": 2, "pretraining.steps": 20,
}  # fmt: skip
"""Settings of the default preset that train in a fraction of a second."""
SMALL_PAPER = {
    "training.epochs": 60, "training.learning_rate": 3e-3,
    "model.segments": 4, "model.segment_size": 8, "model.dim": 16, "model.depth": 1, "model.dropout": 0.0,
}  # fmt: skip
"""The same for the preset of the paper."""


def networks(n, seed=0):
    """Return the features of `n` networks, and their labels.

    A network has a stem, a classifier and, in the first cell of each stage, a node on edge 0-1, mostly one on 1-2 and
    sometimes one on 0-3. Each statistic is large where the edge's strength is; the label is that of edge 0-1, and 1.5
    more where there is edge 0-3. Scores without nodes, and block statistics, are the strength of all edges with noise.
    """
    rng = np.random.default_rng(seed)
    features, labels = [], np.empty(n)
    for i in range(n):
        here = [True, rng.random() < 0.8, rng.random() < 0.5]
        strength = dict(zip(EDGES, rng.normal(size=3) * [1, 0.3, 0.3], strict=True))
        edges = [edge for edge, there in zip(EDGES, here, strict=True) if there]
        nodes = [(f"{cell}.edges.{edge}.conv", strength[edge]) for cell in CELLS for edge in edges]
        features.append(_row([("stem.0", 0.0), *nodes, ("classifier", 0.0)], rng))
        labels[i] = strength["0-1"] + 1.5 * here[2]
    return features, labels


def table(n, seed=0):
    """Return `networks` as a table with the definitions that a store would record, and the labels."""
    features, labels = networks(n, seed)
    definitions = {name: proxy_info(name).define() | {"task": "cifar10"} for name in features[0].scores}
    return FeatureTable.of(features, [f"arch-{i}" for i in range(n)], definitions), labels


def _row(nodes, rng):
    names, strength = [name for name, _ in nodes], np.array([value for _, value in nodes])
    weights = np.where(np.array(names) == "classifier", 650, 2304)
    fields = np.stack([np.arange(len(nodes)), weights, np.full(len(nodes), 16), 10 * weights], axis=1)
    statistics = {}
    for name in STATISTICS:
        values = strength + 0.1 * rng.normal(size=len(nodes))
        statistics[name] = values if proxy_info(name).scale == "log" else np.exp(values)
    statistics["plain"] = statistics["plain"] * rng.choice([-1.0, 1.0], size=len(nodes))
    scores = {name: float(np.log(np.exp(v).sum()) if "synflow" in name else v.sum()) for name, v in statistics.items()}
    scores = {"params": float(weights.sum()), "flops": 10.0 * weights.sum(), "n_layers": float(len(nodes))} | scores
    scores |= {name: strength.sum() + 2 * rng.normal() for name in OTHER_SCORES}
    kinds = tuple("linear" if name == "classifier" else "conv2d" for name in names)
    blocks = {name: strength.mean() + 0.1 * rng.normal(size=len(CELLS)) for name in ("expressivity", "trainability")}
    return NodeFeatures(tuple(names), kinds, fields, statistics, scores, CELLS, blocks)


TABLE, LABELS = table(110)
TRAIN, TEST = TABLE[:50], TABLE[50:]
PRESET_SETTINGS = {"default": SMALL, "paper": SMALL_PAPER, "search": {}}


def fitted(preset="default", seed=0, space="nb201", **changes):
    ranker = Ranker(preset, space, seed, PRESET_SETTINGS[preset] | changes)
    return ranker.fit(TRAIN, LABELS[:50])
