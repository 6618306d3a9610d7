"""The feature store: a folder of features that only grows, and the table that it is read into.

- `record.py`: the features of one network. `table.py`: those of many, in columns; what rankers take.
- `store.py`: `FeatureStore`, the folder. `manifest.py`: its configuration. `shard.py`: a shard is one file of the store
  that holds the features of some architectures. `index.py`: which shard holds which architecture. `parquet.py`: export
  for other programs.
"""

from parzc.features.store.manifest import FORMAT, MANIFEST
from parzc.features.store.record import NodeFeatures
from parzc.features.store.store import FeatureStore, shipped
from parzc.features.store.table import FeatureTable

__all__ = ["FORMAT", "MANIFEST", "FeatureStore", "FeatureTable", "NodeFeatures", "shipped"]
