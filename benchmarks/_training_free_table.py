"""The table of searches without training."""

import numpy as np
from _markdown import TARGETS, markdown, recorded

DATASETS = ("cifar10", "cifar100", "imagenet16")


def training_free(names: list[str]) -> str:
    """Return a Markdown table of the test accuracies that searches without training find, and of published ones."""
    rows = []
    for method, found in recorded(names[0])["results"].items():
        values = [found["test"].get(dataset, []) for dataset in DATASETS]
        cells = [f"{np.mean(one):.2f} ± {np.std(one, ddof=1):.2f}" if len(one) > 1 else "-" for one in values]
        known = [found["published"].get(dataset, "-") for dataset in DATASETS]
        rows.append([method, str(len(values[0])), *cells, " / ".join(known) if found["published"] else "-"])
    columns = [TARGETS.get(f"{dataset}_test", dataset) for dataset in DATASETS]
    return markdown(["search", "runs", *columns, "published"], rows)
