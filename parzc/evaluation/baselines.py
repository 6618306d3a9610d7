"""Plain tabular learners: what any learned ranker has to beat on the same features and labels.

Settings suit a few dozen labels (small leaves, feature sampling); none was searched.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def gradient_boosting(seed: int) -> Any:
    """Return 300 boosted trees of depth 3 on random fractions of rows and columns."""
    return GradientBoostingRegressor(
        n_estimators=300, learning_rate=0.05, max_depth=3, subsample=0.7, max_features=0.2, random_state=seed
    )


def random_forest(seed: int) -> Any:
    """Return a forest of 300 bootstrapped trees."""
    return RandomForestRegressor(n_estimators=300, max_features=0.3, random_state=seed)


def extra_trees(seed: int) -> Any:
    """Return a forest of 300 extremely randomised trees."""
    return ExtraTreesRegressor(n_estimators=300, max_features=0.3, random_state=seed)


def gaussian_process(seed: int) -> Any:
    """Return a Gaussian process, RBF and noise, on standardised columns."""
    kernel = ConstantKernel(1.0) * RBF(10.0, (0.5, 200.0)) + WhiteKernel(0.1, (1e-3, 1e1))
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
    return make_pipeline(StandardScaler(), process)


BASELINES: Mapping[str, Callable[[int], Any]] = MappingProxyType(
    {
        "gradient_boosting": gradient_boosting,
        "random_forest": random_forest,
        "extra_trees": extra_trees,
        "gaussian_process": gaussian_process,
    }
)
"""Name to a function that makes an unfitted scikit-learn regressor from a seed."""
