"""Measures the features of architectures once, and keeps them."""

from collections.abc import Sequence

from parzc.features import FeatureTable


class Evaluator:
    """Measures the features of architectures once, and keeps them."""

    failed: dict[str, str]

    def features(self, archs: Sequence[str]) -> FeatureTable:
        """Return the features of architectures."""
        raise NotImplementedError
