"""The models of the ensemble.

- `_member`: the interface that all of them answer; `members`: those that a preset may name, by name.
- `mixer`, `token_mixer`: the mixers of the presets `paper` and `default`; `bayesian`: their Bayesian layers.
- `gcn`, `pinat`: architecture encoders, which read an architecture's graph; `fusion`: the mixer of `paper`, alone or
  with one of them.
- `process`: what Gaussian processes share; `gaussian_process` reads everything, `architecture_process` the architecture
  encoding alone; `_posterior`: what they predict of networks after they have seen the labels.
- `trees`: boosted trees and random forests; `architecture_forest`: a forest on the architecture encoding alone.
"""
