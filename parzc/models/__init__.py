"""The learned parts of parzc: Bayesian layers, the mixer, graph encoders and baselines."""
