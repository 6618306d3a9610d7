"""How well architectures are ranked, and by what.

- `protocol`: what is compared, on which splits into labelled and test architectures. `metrics`: rank correlations and
  the quality of the best-scored.
- `baselines`, `tabular`: plain scikit-learn regressors on the inputs of a ranker (tabular learners), to compare with.
- `uncertainty`: probabilities about the order of networks. `importance`, `importance_figure`: which nodes matter.
"""
