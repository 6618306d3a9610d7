"""Extraction: the features of one network, and of many architectures, resumably, on all cores or machines."""
