"""The rankers that ship: every setting in one place."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from parzc.errors import InputError
from parzc.ranker.pretraining import PretrainingConfig
from parzc.ranker.training import TrainingConfig

PARTS: Mapping[str, Any] = MappingProxyType({"training": TrainingConfig, "pretraining": PretrainingConfig})
"""Settings that have settings of their own."""

# Beside an encoder of architectures the mixer of `paper` is made smaller, and everything learns ten times as fast as in
# the paper, whose 1e-4 leaves the encoder close to its random start. Both were chosen on CIFAR-100 validation
# accuracies of NAS-Bench-201, with 78 labels.
_FUSED: Mapping[str, Any] = MappingProxyType({"model.dim": 64, "model.depth": 2, "training.learning_rate": 1e-3})
GRAPH_SETTINGS: Mapping[str, Mapping[str, Any]] = MappingProxyType({"gcn": _FUSED, "pinat": _FUSED})
"""What changes with the encoder of architectures that is chosen, unless it is set, too."""


@dataclass(frozen=True)
class Preset:
    """Features, model and training of a ranker.

    Args:
        encoder: `padded` (the paper's input) or `tokens` (one token for each position of the space).
        statistics: node statistics that enter.
        scores: network proxies that enter.
        model: `mabn` (reads `padded`) or `token_mixer` (reads `tokens`).
        model_args: arguments of the model besides its input sizes.
        training: the training loop.
        graph: encoder of the architecture beside the node statistics, `none`, or `gcn` or `pinat` beside `mabn` (A.4).
        graph_args: arguments of that encoder besides its number of operations.
        members: independently trained networks, whose scores are averaged.
        blocks: block statistics that enter.
        pretraining: without labels, before the training of `token_mixer`.
        beside: members of other kinds, which read `tokens`: `gaussian_process`, from which the uncertainty then comes,
            `boosted_trees`, `random_forest`, and `architecture_process` and `architecture_forest`, which read nothing but
            descriptions of architectures and are left out where these do not enter.
        share: how much all networks together count, 0 to 1; the rest is that of `beside`, where each process and each
            random forest counts as much as it tells of held-out labels (`parzc.ranker.stacking`), boosted trees
            like one of as many members. None if all simply count alike.
        described: whether all members also read what the architecture is made of (`parzc.encoding.architecture`), if
            the space is known.
    """

    encoder: Literal["padded", "tokens"]
    statistics: tuple[str, ...]
    scores: tuple[str, ...]
    model: Literal["mabn", "token_mixer"]
    model_args: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    members: int = 1
    blocks: tuple[str, ...] = ()
    pretraining: PretrainingConfig = field(default_factory=lambda: PretrainingConfig(steps=0))
    beside: tuple[str, ...] = ()
    share: float | None = None
    graph: Literal["none", "gcn", "pinat"] = "none"
    graph_args: Mapping[str, Any] = field(default_factory=dict)
    described: bool = False

    def override(self, settings: Mapping[str, Any]) -> "Preset":
        """Return the preset with other settings; `training.epochs`, `model.dim` and the like reach into its parts.

        A `graph` brings its `GRAPH_SETTINGS` along.

        Raises:
            InputError: for a setting that does not exist.
        """
        preset, own = self, {f.name for f in fields(Preset)} - {"model_args", "graph_args", *PARTS}
        along = GRAPH_SETTINGS.get(settings.get("graph", "none"), {})
        for key, value in {**along, **settings}.items():
            part, _, name = key.rpartition(".")
            if part == "model":
                preset = replace(preset, model_args={**preset.model_args, name: value})
            elif part == "graph":
                preset = replace(preset, graph_args={**preset.graph_args, name: value})
            elif part in PARTS and name in {f.name for f in fields(PARTS[part])}:
                preset = replace(preset, **{part: replace(getattr(preset, part), **{name: value})})
            elif not part and name in own:
                changes: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value}
                preset = replace(preset, **changes)
            else:
                raise InputError(f"there is no setting '{key}'; see parzc.ranker.presets.Preset for those there are")
        return preset


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "default": Preset(
            encoder="tokens",
            statistics=("grad_norm", "snip", "fisher", "l2_norm", "synflow", "synflow_bn"),
            scores=(
                *("params", "flops", "n_layers", "grad_norm", "snip", "snip_mean", "fisher", "l2_norm"),
                *("synflow", "synflow_bn", "logsynflow", "nwot", "swap", "swap_regularised", "linear_regions"),
                *("ncd_nwot", "ncd_swap", "jacob_cov", "epe_nas", "ntk", "knas", "nasi", "zico", "zico_signed"),
                *("gsnr", "gsnr_mean", "gsnr_variance", "xi_gsnr", "xi_gsnr_variance", "xi_gsnr_accumulated"),
                *("gradsign", "gradsign_mean", "zen", "zen_published", "expressivity", "progressivity"),
                *("trainability", "meco", "meco_opt", "meco_modules"),
            ),
            blocks=("expressivity", "trainability"),
            model="token_mixer",
            model_args={"dim": 32, "depth": 2, "dropout": 0.1},
            training=TrainingConfig(
                alpha=4.0,
                epochs=200,
                batch=128,
                learning_rate=3e-3,
                weight_decay=1e-2,
                decoupled=True,
                warmup=0.2,
            ),
            members=3,
            pretraining=PretrainingConfig(),
            beside=("gaussian_process", "boosted_trees"),
        ),
        # Section 4.1 and A.3 of the ParZC paper: three statistics of 98 nodes (294 inputs), Adam at 1e-4 with weight
        # decay 1e-3, batches of 10, 200 epochs, DiffKendall with alpha = .5, dropout .18; dimension from table 10.
        "paper": Preset(
            encoder="padded",
            statistics=("grad_norm", "snip", "synflow"),
            scores=(),
            model="mabn",
            model_args={"segments": 16, "segment_size": 16, "dim": 256, "depth": 4, "dropout": 0.18},
            training=TrainingConfig(),
        ),
    }
)

UNDESCRIBED = frozenset({"", "nb201"})
"""Spaces whose descriptions `default` does not read; networks of no known space have none."""
DESCRIBED: Mapping[str, Any] = MappingProxyType(
    {
        "described": True,
        "beside": ("gaussian_process", "random_forest", "architecture_process", "architecture_forest"),
        "share": 0.1,
    }
)
"""What changes in `default` where it reads descriptions. Chosen on architectures that no record is tested on."""


def settings_of(preset: str, space: str) -> dict[str, Any]:
    """Return what changes in a preset with the search space, unless it is set, too."""
    return dict(DESCRIBED) if preset == "default" and space not in UNDESCRIBED else {}


def get_preset(name: str) -> Preset:
    """Return the preset called `name`.

    Raises:
        InputError: if there is none.
    """
    if name not in PRESETS:
        raise InputError(f"there is no preset '{name}'; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
