"""The commands behind `train.py` and `evaluate.py`."""
