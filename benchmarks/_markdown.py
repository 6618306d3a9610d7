"""What the writers of tables share: records by name, Markdown, names of targets."""

from typing import Any

from _records import RESULTS, read

TARGETS = {"cifar10_test": "CIFAR-10", "cifar100_test": "CIFAR-100", "imagenet16_test": "ImageNet16"}


def recorded(name: str) -> dict[str, Any]:
    """Return the record of this name."""
    return read(RESULTS / f"{name}.json")


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
