"""Extraction: the features of one network, and of many architectures, resumably, on all cores or machines.

- `one_network`: `score` and `extract`, for any network. `many_archs`: `build_store`, for architectures of a space.
- `chunks`: the few architectures that a worker extracts at a time. `engines/`: how workers are started and fed.
  `progress`: what people see meanwhile.
"""
