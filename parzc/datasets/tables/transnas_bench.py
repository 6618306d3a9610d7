"""Official results of TransNAS-Bench-101, read from the file that its authors publish.

`transnas-bench_v10141024.pth` (Duan et al., CVPR 2021, arXiv:2105.11871) is one file that `torch.save` wrote: for each
of the two spaces, each arch and each task, the metrics of every epoch of one training. Labels are, as the official
interface reads them by default, validation metrics of the best epoch: top-1 accuracy in percent, pixel accuracy in
percent (`segmentsemantic`), structural similarity (`autoencoder`, `normal`), negative loss (`room_layout`).
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from parzc.datasets.tables import _unpickle
from parzc.datasets.tables.nats_bench import ALLOWED
from parzc.errors import InputError

SOURCE = "TransNAS-Bench-101, official file: validation metric of the best epoch of one training"
METRICS: Mapping[str, str] = MappingProxyType(
    {
        "class_scene": "valid_top1",
        "class_object": "valid_top1",
        "autoencoder": "valid_ssim",
        "normal": "valid_ssim",
        "jigsaw": "valid_top1",
        "room_layout": "valid_neg_loss",
        "segmentsemantic": "valid_acc",
    }
)
"""The official name of the metric of each task; bigger is better."""
_FILE = "transnas-bench_v10141024.pth"


def read_checkpoint(path: Path, part: str) -> pd.DataFrame:
    """Return the labels of every arch of one space in the official file.

    Args:
        path: the file.
        part: `micro` or `macro`.

    Raises:
        InputError: if the file is damaged, is not TransNAS-Bench-101, or names a global that it never uses.
    """
    content = _unpickle.load_checkpoint(path, ALLOWED, official=_FILE)
    try:
        rows = [{"arch": arch, **_labels(results)} for arch, results in content["data"][part].items()]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is a torch file but does not hold TransNAS-Bench-101 ({error}); give the official {_FILE}"
        ) from error
    return pd.DataFrame(rows, columns=["arch", *METRICS], index=[f"arch {i}" for i in range(len(rows))])


def _labels(results: Mapping[str, Any]) -> dict[str, float]:
    return {task: float(max(results[task]["metrics"][metric])) for task, metric in METRICS.items()}


read_micro = partial(read_checkpoint, part="micro")
read_macro = partial(read_checkpoint, part="macro")
