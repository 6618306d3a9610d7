"""The feature store: a folder of features that only grows, and the table that it is read into."""

from parzc.features.store.record import NodeFeatures
from parzc.features.store.store import FORMAT, MANIFEST, FeatureStore, shipped
from parzc.features.store.table import FeatureTable

__all__ = ["FORMAT", "MANIFEST", "FeatureStore", "FeatureTable", "NodeFeatures", "shipped"]
