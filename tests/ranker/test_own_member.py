"""A member of one's own: one class and one line of registration."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers import LABELS, SMALL, TABLE, TEST, TRAIN

from parzc.errors import InputError
from parzc.models import members
from parzc.models._member import Member
from parzc.ranker import Ranker, presets
from parzc.ranker.presets import Preset


@dataclass(frozen=True)
class RidgeConfig:
    """How strongly slopes are drawn to 0."""

    penalty: float = 10.0


class Ridge(Member):
    """Ridge regression on the proxies."""

    Config = RidgeConfig
    reads = ("scores",)
    plain_targets = True

    def __init__(self, labelled, shapes, config=None):  # noqa: ARG002
        super().__init__()
        self.config = config or RidgeConfig()
        self.register_buffer("slopes", torch.zeros(shapes["scores"], dtype=torch.float64))

    def fit(self, inputs, targets, pool, seed):  # noqa: ARG002
        x = inputs.scores.double()
        gram = x.T @ x + self.config.penalty * torch.eye(x.shape[1]).double()
        self.slopes = torch.linalg.solve(gram, x.T @ targets.double())
        return self

    def forward(self, inputs):
        return inputs.scores.double() @ self.slopes


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for module in (members, presets):
        monkeypatch.setattr(module, "MEMBERS", {**members.MEMBERS, "ridge": Ridge})


def fitted(*others, **settings):
    changes = {"mixers": 0, "others": others, "mixer_weight": 0.3, **settings}
    return Ranker("default", "nb201", settings=SMALL | changes).fit(TRAIN, LABELS[:50], TABLE)


def preset_with_ridge():
    """A preset is made when the package is imported, before the registration here."""
    return Preset("tokens", ("snip",), ("params",), "token_mixer")


def test_its_settings_are_in_every_preset():
    preset = preset_with_ridge().override({"ridge.penalty": 3.0})
    assert preset.member_configs["ridge"] == RidgeConfig(3.0)
    with pytest.raises(InputError, match=r"^there is no setting 'ridge.degree'"):
        preset.override({"ridge.degree": 2})


@pytest.fixture
def default(monkeypatch):
    """The default preset with the settings of all members that are registered."""
    known = presets.PRESETS["default"]
    configs = {**known.member_configs, "ridge": RidgeConfig()}
    monkeypatch.setattr(presets, "PRESETS", {"default": presets.replace(known, member_configs=configs)})


@pytest.mark.usefixtures("default")
def test_it_is_fitted_weighed_and_saved_with_the_others(tmp_path):
    alone = fitted("ridge", **{"ridge.penalty": 2.0})
    inputs, labels = alone._inputs(TRAIN).scores.double().numpy(), LABELS[:50]
    targets = (labels - labels.mean()) / labels.std()
    slopes = np.linalg.solve(inputs.T @ inputs + 2 * np.eye(inputs.shape[1]), inputs.T @ targets)
    of_pool = alone._inputs(TABLE).scores.double().numpy() @ slopes
    expected = alone._inputs(TEST).scores.double().numpy() @ slopes
    np.testing.assert_allclose(alone.predict(TEST), (expected - of_pool.mean()) / of_pool.std(), rtol=1e-6)
    ensemble = fitted("random_forest", "ridge", "gaussian_process", **{"random_forest.trees": 60})
    # It has no held-out predictions: its weight stays, those of the two others are learned.
    weights = ensemble.ensemble_.weights_
    assert weights[1] == 1 / 3 and abs(weights[0] - weights[2]) > 1e-3
    ensemble.save(tmp_path)
    np.testing.assert_array_equal(Ranker.load(tmp_path).predict(TEST), ensemble.predict(TEST))


@pytest.mark.usefixtures("default")
def test_it_is_left_out_where_nothing_that_it_reads_has_a_column():
    assert fitted("ridge", "gaussian_process", scores=(), blocks=()).ensemble_.others_ == ("gaussian_process",)
