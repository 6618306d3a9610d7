"""Find good architectures with few trainings: ask, train, tell."""
