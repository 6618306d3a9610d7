"""The ranker: fitted on few labelled architectures, it scores all others and says how sure it is.

- `estimator`: `Ranker`, the scikit-learn estimator; `presets`: all of its settings.
- `assembly`: the encoder and the members that a preset names; `networks`: the mixers, which are the neural networks
  among the members.
- `ensemble`: members fitted, weighed (`stacking`) and standardised; `target_transform`: what they learn in place of the
  labels.
- `training`, `losses`: of the mixers; `pretraining`: of the mixers of `default`, without labels, and warm starts
  (mixers that an earlier fit has pre-trained).
- `acquisition`: which networks to train next; `checkpoint`: ranker folders.
"""

from parzc.ranker.estimator import Ranker

__all__ = ["Ranker"]
