"""What one run over a network records: its nodes, gradients, activation patterns, feature maps, Jacobians.

A pass is such a run: forward, or forward and backward. A node is one weight of a convolution or linear map with all its
uses; a call is one use.

- `passes.py`: `Passes`, all that a proxy can read, attribute by attribute; `own_weights.py`: the part of it that runs
  the network with its own weights. `once.py`: each pass runs at most once; `Undefined`, where there is no result.
- `trace.py`: records every convolution and linear map while a network runs; `nodes.py`: what was recorded (`Call`,
  `Node`) and its order. `derivatives.py`: gradients and Hessian products of recorded nodes.
- `state.py`: leaves the network as it was; other initial weights; random numbers that belong to a name.
- `samples.py`: gradients of single inputs. `bits.py`, `masked.py`: activation patterns (which units are active for
  which input). `maps.py`: correlations between channels. `perturbed.py`: how far activations move with the input.
  `blocks.py`: primary blocks (cells, residual blocks and the like) and the Jacobians between them.
"""
