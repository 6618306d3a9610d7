"""The rankers that ship: every setting that shapes a result, in one place.

`default` has two variants: `measured` reads features alone, `architecture` reads the architecture encoding, too.
docs/results.md lists what their settings were chosen on ("What was seen while choosing"). In short:

- The settings of `measured`: CIFAR-100 validation accuracies of NAS-Bench-201.
- With test labels in view: that the architecture encoding enters (splits of `nb101` and `autoformer-tiny`), the kernels
  on it, and that there is a choice of a target transform (both on `autoformer-tiny`).
- On architectures of `autoformer-small`, `autoformer-base` and `transnas-macro` that no record is tested on, and on
  CIFAR-100 validation accuracies of NAS-Bench-201: how much evidence that choice asks for, which members there are, and
  how they are weighed.

Records of earlier rankers, and two records of candidates for `default`, were seen meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from parzc.datasets import Space, get_space
from parzc.encoding.tokens import TokenConfig
from parzc.errors import InputError
from parzc.models.members import MEMBERS
from parzc.ranker.acquisition import AcquisitionConfig
from parzc.ranker.pretraining import PretrainingConfig
from parzc.ranker.stacking import StackingConfig
from parzc.ranker.target_transform import TransformConfig
from parzc.ranker.training import TrainingConfig

# With an encoder of architectures the mixer of `paper` is made smaller, and everything learns ten times as fast as in
# the paper, whose 1e-4 leaves the encoder close to its random start. Both were chosen on CIFAR-100 validation
# accuracies of NAS-Bench-201, with 78 labels.
_FUSED: Mapping[str, Any] = MappingProxyType({"model.dim": 64, "model.depth": 2, "training.learning_rate": 1e-3})
GRAPH_SETTINGS: Mapping[str, Mapping[str, Any]] = MappingProxyType({"gcn": _FUSED, "pinat": _FUSED})
"""Settings that an architecture encoder (`graph`) brings along, unless they are set, too."""


@dataclass(frozen=True)
class Preset:
    """Inputs, ensemble and training of a ranker.

    Args:
        encoder: which inputs are made of features: `padded` (the paper's input) or `tokens` (one token for each
            position of the space). The option `--encoder` of `train.py` is `graph` below.
        statistics: names of the node statistics that enter.
        scores: names of the proxies that enter.
        model: kind of the mixers: `mabn` (reads `padded`) or `token_mixer` (reads `tokens`).
        model_args: arguments of the mixers but their input sizes.
        training: of the mixers.
        mixers: how many mixers there are; they count together as one member, the mean of their scores.
        blocks: names of the block statistics that enter.
        encoding: sizes of the inputs that the encoder `tokens` makes.
        arch_encoding: whether the architecture encoding enters (`parzc.encoding.architecture`), if the space is known.
        pretraining: of `token_mixer`, without labels, before the training.
        others: names of the members that are no mixers; see `parzc.models.members.MEMBERS`. They need the encoder
            `tokens`. A `gaussian_process` gives the uncertainty of the ranker; `architecture_process` and
            `architecture_forest` read the architecture encoding alone, and are left out where it does not enter.
        member_configs: name of each of `MEMBERS` to its settings.
        mixer_weight: ensemble weight of all mixers together, 0 to 1. The rest is first given to `others` in equal
            parts; those that have held-out predictions then divide what they have together by stacking
            (`parzc.ranker.stacking`). None if nothing is learned and all count alike, the mixers together as one.
        stacking: how these weights are learned.
        transform: how the target transform (normal scores of the labels, or the labels as they are) is chosen.
        draws: how often the weights of each member are drawn for a standard deviation, where no member gives a
            variance; with 32 draws it is within an eighth of what endless draws would give.
        acquisition: sizes for the choice of the networks to train next.
        graph: architecture encoder, which reads the graph of an architecture in addition to the node statistics:
            `none`, or `gcn` or `pinat` with `mabn` (paper, A.4).
        graph_args: arguments of that encoder but its number of operations.
    """

    encoder: Literal["padded", "tokens"]
    statistics: tuple[str, ...]
    scores: tuple[str, ...]
    model: Literal["mabn", "token_mixer"]
    model_args: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    mixers: int = 1
    blocks: tuple[str, ...] = ()
    encoding: TokenConfig = field(default_factory=TokenConfig)
    arch_encoding: bool = False
    pretraining: PretrainingConfig = field(default_factory=lambda: PretrainingConfig(steps=0))
    others: tuple[str, ...] = ()
    member_configs: Mapping[str, Any] = field(
        default_factory=lambda: {name: kind.Config() for name, kind in MEMBERS.items()}
    )
    mixer_weight: float | None = None
    stacking: StackingConfig = field(default_factory=StackingConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    draws: int = 32
    acquisition: AcquisitionConfig = field(default_factory=AcquisitionConfig)
    graph: Literal["none", "gcn", "pinat"] = "none"
    graph_args: Mapping[str, Any] = field(default_factory=dict)

    def override(self, settings: Mapping[str, Any]) -> "Preset":
        """Return the preset with other settings.

        `mixers` and the like name a field. A dot reaches into a part: `training.epochs`, `stacking.sharpness`; `model.`
        and `graph.` into the arguments of the mixers and of the graph's encoder, the name of a member
        (`gaussian_process.steps`) into its settings. A `graph` brings its `GRAPH_SETTINGS` along.

        Raises:
            InputError: for a setting that does not exist.
        """
        along = GRAPH_SETTINGS.get(settings.get("graph", "none"), {})
        preset = self
        for key, value in {**along, **settings}.items():
            preset = preset._with(key, tuple(value) if isinstance(value, list) else value)
        return preset

    def _with(self, key: str, value: Any) -> "Preset":
        part, _, name = key.rpartition(".")
        changes: dict[str, Any] = {}
        if part in ("model", "graph"):
            changes[f"{part}_args"] = {**getattr(self, f"{part}_args"), name: value}
        elif part in PARTS and name in _names(PARTS[part]):
            changes[part] = replace(getattr(self, part), **{name: value})
        elif part in MEMBERS and name in _names(MEMBERS[part].Config):
            config = replace(self.member_configs[part], **{name: value})
            changes["member_configs"] = {**self.member_configs, part: config}
        elif not part and name in _names(Preset) - {"model_args", "graph_args", "member_configs", *PARTS}:
            changes[name] = value
        else:
            raise InputError(f"there is no setting '{key}'; see parzc.ranker.presets.Preset for those there are")
        return replace(self, **changes)


PARTS: Mapping[str, Any] = MappingProxyType(
    {
        "training": TrainingConfig,
        "pretraining": PretrainingConfig,
        "encoding": TokenConfig,
        "stacking": StackingConfig,
        "transform": TransformConfig,
        "acquisition": AcquisitionConfig,
    }
)
"""Fields of a preset that have settings of their own."""


def _names(kind: Any) -> set[str]:
    return {f.name for f in fields(kind)}


_DEFAULT = Preset(
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
    mixers=3,
    pretraining=PretrainingConfig(),
    others=("gaussian_process", "boosted_trees"),
)
# Section 4.1 and A.3 of the ParZC paper: three statistics of 98 nodes (294 inputs), Adam at 1e-4 with weight decay
# 1e-3, batches of 10, 200 epochs, DiffKendall with alpha = .5, dropout .18; dimension from table 10.
_PAPER = Preset(
    encoder="padded",
    statistics=("grad_norm", "snip", "synflow"),
    scores=(),
    model="mabn",
    model_args={"segments": 16, "segment_size": 16, "dim": 256, "depth": 4, "dropout": 0.18},
    training=TrainingConfig(),
)

# A search fits the ranker anew after each training, and needs to know how sure it is: the Gaussian process alone is
# fitted in a fraction of a second and gives the joint posterior that expected improvement is taken over.
_SEARCH = replace(_DEFAULT, mixers=0, others=("gaussian_process",))

PRESETS: Mapping[str, Preset] = MappingProxyType({"default": _DEFAULT, "paper": _PAPER, "search": _SEARCH})
"""Name to preset; where there is another variant for some spaces, this is the one called `measured`."""
ARCHITECTURE_VARIANTS: Mapping[str, Preset] = MappingProxyType(
    {
        "default": replace(
            _DEFAULT,
            arch_encoding=True,
            others=("gaussian_process", "random_forest", "architecture_process", "architecture_forest"),
            mixer_weight=0.1,
        ),
        "search": replace(_SEARCH, arch_encoding=True),
    }
)
"""Name to the variant called `architecture`, which reads the architecture encoding. It is for spaces where that
explains much of the accuracy by itself; a space names the variant that suits it (`preset_variant`)."""
VARIANTS = ("measured", "architecture")


def variants_of(name: str) -> tuple[Preset, ...]:
    """Return the preset called `name` in each of its variants.

    Raises:
        InputError: if there is no such preset.
    """
    preset = get_preset(name)
    return (preset, ARCHITECTURE_VARIANTS[name]) if name in ARCHITECTURE_VARIANTS else (preset,)


def get_preset(name: str, space: str | Space = "") -> Preset:
    """Return the preset called `name`, in the variant that suits a search space.

    Args:
        name: in `PRESETS`.
        space: search space, or its name or file; networks of no known space, which have no architecture encoding, get
            `measured`.

    Raises:
        InputError: if there is no such preset, space or variant.
    """
    if name not in PRESETS:
        raise InputError(f"there is no preset '{name}'; choose one of {', '.join(PRESETS)}")
    known = get_space(space) if space else None
    variant = known.preset_variant if known else "measured"
    if known and variant not in VARIANTS:
        raise InputError(
            f"space '{known.name}' asks for the preset variant '{variant}'; choose one of {', '.join(VARIANTS)}"
        )
    return ARCHITECTURE_VARIANTS.get(name, PRESETS[name]) if variant == "architecture" else PRESETS[name]


def preset_of_record(record: Mapping[str, Any]) -> Preset:
    """Return the preset that `dataclasses.asdict` made a record of, which json may have carried.

    Raises:
        TypeError, ValueError, LookupError, AttributeError: if it is the record of none.
    """
    values = dict(record)
    for name, kind in PARTS.items():
        if name in values:
            values[name] = kind(**values[name])
    if "member_configs" in values:
        configs = {name: _restored(MEMBERS[name].Config, own) for name, own in values["member_configs"].items()}
        values["member_configs"] = {**{name: kind.Config() for name, kind in MEMBERS.items()}, **configs}
    return Preset(**values | {name: tuple(values[name]) for name in ("statistics", "scores", "blocks", "others")})


def _restored(kind: Any, record: Mapping[str, Any]) -> Any:
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in record.items()})
