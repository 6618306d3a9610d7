"""The ranker: fitted on few labelled architectures, it scores all others and says how sure it is.

- `estimator`: `Ranker`, the scikit-learn estimator; `presets`: all of its settings.
- `assembly`: the encoder and the members that a preset names; `networks`: the neural networks among them.
- `ensemble`: members fitted, weighed (`stacking`) and standardised; `target_transform`: what they learn of a label.
- `training`, `losses`: of the networks; `pretraining`: of token mixers, without labels, and warm starts.
- `acquisition`: which networks to train next; `checkpoint`: ranker folders.
"""

from parzc.ranker.estimator import Ranker

__all__ = ["Ranker"]
