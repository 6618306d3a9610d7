"""From features to model inputs; all is fitted without labels and saved with the ranker.

- `inputs`: the records that models read, with named tensors.
- `tokens`, `padded`: the encoders of the presets `default` and `paper`; `_base`: what encoders share.
- `layouts`: node statistics in columns; `scaling`: columns and labels mapped to normal distributions.
- `graphs`: architectures as padded graphs; `architecture`: these graphs as columns (the architecture encoding).
"""
