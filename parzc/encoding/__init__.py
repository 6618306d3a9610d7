"""From features to model inputs; all is fitted without labels and saved with the ranker.

A `FeatureTable` of `n` networks goes in, whose networks may have different numbers of nodes; tensors with `n` rows of
one size come out (`inputs.Inputs`).

- `inputs`: the records that models read, with named tensors.
- `tokens`, `padded`: the encoders of the presets `default` and `paper`; `_base`: what encoders share.
- `layouts`: node statistics in columns; `scaling`: columns and labels mapped to normal distributions.
- `graphs`: architectures as padded graphs, for the architecture encoders `gcn` and `pinat` (`parzc.models`);
  `architecture`: these graphs as columns, for all other members (the architecture encoding).
"""
