"""Search: asks for architectures to train, under hard budgets, and learns from their accuracies."""
