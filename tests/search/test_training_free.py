"""Searches by a score, each against a slow program, and what is measured for them."""

import numpy as np
import pytest
from torch import nn

from parzc import Choices, InputError
from parzc.datasets import Slot, get_space
from parzc.features import AZ_NAS, shipped
from parzc.search import Budget, Pool
from parzc.search.training_free import TrainingFreeSearch

NB201 = get_space("nb201")


@pytest.fixture(scope="module")
def proxies():
    """The four proxies of AZ-NAS of each function."""
    features = shipped("nb201").read()
    return {a: [features.scores[n][i] for n in AZ_NAS] for i, a in enumerate(features.archs)}


def az_nas(rows):
    """Sum of log(rank / n) over the proxies, ranks counted one by one; bigger proxies are better."""
    table = np.where(np.isnan(np.array(rows)), -np.inf, np.array(rows))
    below = (table[None] < table[:, None]).sum(1)
    same = (table[None] == table[:, None]).sum(1)
    return np.log((below + (1 + same) / 2) / len(table)).sum(1)


def draws(n, seed):
    return Pool(NB201).draw(n, np.random.default_rng([seed, 0]))


def test_random_search_is_the_best_of_its_draws(proxies):
    history = TrainingFreeSearch("nb201").run(400, seed=2)
    archs = draws(400, 2)
    values = az_nas([proxies[arch] for arch in archs])
    assert [trial.arch for trial in history.trials] == archs
    np.testing.assert_allclose([trial.value for trial in history.trials], values, rtol=1e-12)
    assert history.best.arch == archs[int(np.argmax(values))]
    assert history.best.costs["params"] == NB201.cost(history.best.arch).params


def test_a_longer_search_begins_with_a_shorter_one():
    search = TrainingFreeSearch("nb201", "synflow")
    short, long = ([trial.arch for trial in search.run(n, seed=1).trials] for n in (30, 80))
    assert long[:30] == short and len(set(long)) == 80


def slow_evolution(proxies, evaluations, top, changes, bound, seed):
    """Algorithm 1 of AZ-NAS; what it draws is drawn as `Evolution` does."""
    budget = Budget.parse(NB201, {"params": bound})
    pool, asked = Pool(NB201, budget), []
    while len(asked) < evaluations:
        rng, left = np.random.default_rng([seed, len(asked)]), pool.without(map(NB201.canonical, asked))
        if asked:
            values = az_nas([proxies[arch] for arch in asked])
            best = sorted(range(len(asked)), key=lambda i: -values[i])[:top]
            child = None
            while child is None:
                parent = asked[best[int(rng.integers(len(best)))]]
                for _ in range(changes - 1):
                    parent = NB201.mutate(parent, rng)
                for _ in range(20):
                    child = child or left.mutate(parent, rng, 30)
                    parent = parent if child else NB201.mutate(parent, rng)
        else:
            (child,) = left.draw(1, rng)
        assert NB201.cost(child).params <= bound
        asked.append(child)
    return asked


@pytest.mark.parametrize(("top", "changes"), [(2, 1), (1024, 2)])
def test_evolution_is_algorithm_1_of_az_nas(proxies, top, changes):
    settings = {"top": top, "changes": changes}
    search = TrainingFreeSearch("nb201", "az_nas", algorithm="evolution", budget={"params": 6e5}, settings=settings)
    history = search.run(90, seed=4)
    assert [trial.arch for trial in history.trials] == slow_evolution(proxies, 90, top, changes, 6e5, 4)
    values = az_nas([proxies[trial.arch] for trial in history.trials])
    np.testing.assert_allclose([trial.value for trial in history.trials], values, rtol=1e-12)


def test_evolution_beats_random_draws_and_local_search_reads_the_score():
    best = {
        name: TrainingFreeSearch("nb201", "synflow", algorithm=name, settings=settings).run(100, seed=0).best.value
        for name, settings in (("random", {}), ("evolution", {"top": 5}), ("local", {"starts": 2}))
    }
    assert best["evolution"] > best["random"] and best["local"] > best["random"]


def test_a_generation_is_ranked_at_once():
    search = TrainingFreeSearch("nb201", algorithm="evolution", settings={"top": 3})
    seen = []
    history = search.run(25, seed=0, batch=10, progress=lambda history: seen.append(len(history)))
    assert seen == [10, 20, 25] and len({trial.function for trial in history.trials}) == 25


BUILT = []


class Broken(nn.Conv2d):
    """Runs where costs are counted, and nowhere else."""

    def forward(self, x):
        if not x.is_meta:
            raise ValueError("no such kernel")
        return super().forward(x)


def build(width, kernel):
    convolution = Broken if kernel == 5 else nn.Conv2d
    layer = convolution(3, width, kernel, padding=kernel // 2)
    if not layer.weight.is_meta:
        BUILT.append((width, kernel))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(layer, nn.ReLU(), *head)


def made():
    slots = (Slot("0", "first", 0, 0), Slot("4", "last", 0, 1))
    return Choices(build, {"width": [4, 6, 8], "kernel": [1, 3, 5]}, name="made", input_shape=(3, 8, 8), slots=slots)


def test_networks_are_measured_once_and_failures_are_named(tmp_path):
    search = TrainingFreeSearch(made(), "l2_norm", folder=tmp_path)
    history = search.run(9, seed=0)
    assert len(history) == 9 and len(history.complete) == 6
    assert all("kernel=5" in t.arch and "no such kernel" in t.reason for t in history.failed)
    assert history.best.arch == max(history.complete, key=lambda trial: trial.value).arch
    costs = {arch: made().cost(arch) for arch in (t.arch for t in history.complete)}
    assert all(trial.costs["params"] == costs[trial.arch].params for trial in history.complete)
    again = TrainingFreeSearch(made(), "l2_norm", folder=tmp_path)
    BUILT.clear()
    assert [t.value for t in again.run(9, seed=0).complete] == [t.value for t in history.complete]
    # Only those that failed are tried again.
    assert {kernel for _, kernel in BUILT} <= {5}


def test_what_the_store_of_a_space_lacks_is_measured():
    arch = "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
    history = TrainingFreeSearch("nb201", "grasp", archs=[arch], workers=1).run(1)
    assert np.isfinite(history.best.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"algorithm": "guided"}, "learns from trainings and reads no score"),
    ({"score": "magic"}, "there is no score 'magic'"),
    ({"algorithm": "random", "settings": {"top": 3}}, "does not take the settings top"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        TrainingFreeSearch("nb201", **options)


def test_a_score_without_any_value_ends_the_search():
    dead = ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"]
    with pytest.raises(InputError, match="has no value for any of 1 architectures"):
        TrainingFreeSearch("nb201", "synflow", archs=dead).run(1)
    with pytest.raises(InputError, match="cannot score 0"):
        TrainingFreeSearch("nb201").run(0)


class Fails(nn.Sequential):
    """Runs where costs and slots are counted, and nowhere else."""

    def forward(self, x):
        if x.device.type != "meta":
            raise RuntimeError("broken")
        return super().forward(x)


def test_a_first_architecture_that_cannot_be_measured_is_no_error():
    def build(width, depth):
        if depth == 2:
            return Fails()
        return nn.Sequential(
            nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)
        )

    space = Choices(build, {"width": [4, 6, 8], "depth": [1, 2]}, name="half", input_shape=(3, 8, 8), classes=4)
    pool = Pool(space, archs=["width=4,depth=2", "width=6,depth=1", "width=8,depth=1"])
    found = {}
    for seed in range(6):
        try:
            search = TrainingFreeSearch(
                space, "l2_norm+n_layers", algorithm="local", archs=list(pool.archs()), workers=1
            )
            history = search.run(3, seed=seed)
        except InputError:
            continue
        found[history.trials[0].state] = [t.arch for t in history.trials if t.state == "complete"]
    assert "failed" in found and sorted(found["failed"]) == ["width=6,depth=1", "width=8,depth=1"]
