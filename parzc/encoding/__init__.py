"""Features to model inputs: layouts, scaling, graphs and descriptions of architectures."""
