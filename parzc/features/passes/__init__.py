"""What one run over a network records: its nodes, gradients, activation patterns, feature maps, Jacobians.

- `passes.py`: `Passes`, all that a proxy can read, attribute by attribute; `own_weights.py`: the part of it that runs
  the network with its own weights. `once.py`: each pass runs at most once; `Undefined`, where there is no result.
- `trace.py`: records every convolution and linear map while a network runs; `nodes.py`: what was recorded (`Call`,
  `Node`) and its order. `derivatives.py`: gradients and Hessian products of recorded nodes.
- `state.py`: leaves the network as it was; other initial weights; random numbers that belong to a name.
- `samples.py`: gradients of single inputs. `bits.py`, `masked.py`: activation patterns. `maps.py`: correlations between
  channels. `perturbed.py`: how far features move. `blocks.py`: primary blocks and the Jacobians between them.
"""
