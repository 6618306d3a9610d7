"""How well architectures are ranked: protocol, metrics, uncertainty, importance, tabular learners."""
