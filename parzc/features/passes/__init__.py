"""What one run over a network records: its nodes, gradients, activation patterns, feature maps, Jacobians."""
