"""Plain tabular learners: what any learned ranker has to beat on the same features and labels.

Settings suit a few dozen labels (small leaves, feature sampling); none was searched. All learn labels that were mapped
to a normal distribution, without which a few untrainable networks take up the whole scale.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler


def gradient_boosting(seed: int) -> Any:
    """Return 300 boosted trees of depth 3 on random shares of rows and columns."""
    return _on_normal_labels(
        GradientBoostingRegressor(
            n_estimators=300, learning_rate=0.05, max_depth=3, subsample=0.7, max_features=0.2, random_state=seed
        )
    )


def random_forest(seed: int) -> Any:
    """Return a forest of 300 bootstrapped trees."""
    return _on_normal_labels(RandomForestRegressor(n_estimators=300, max_features=0.3, random_state=seed))


def extra_trees(seed: int) -> Any:
    """Return a forest of 300 extremely randomised trees."""
    return _on_normal_labels(ExtraTreesRegressor(n_estimators=300, max_features=0.3, random_state=seed))


def gaussian_process(seed: int) -> Any:
    """Return a Gaussian process (RBF and noise) on the principal components that hold 95 % of the variance."""
    kernel = ConstantKernel(1.0) * RBF(4.0, (0.1, 100.0)) + WhiteKernel(0.1, (1e-3, 1e1))
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
    return _on_normal_labels(make_pipeline(StandardScaler(), PCA(0.95, svd_solver="full"), process))


def _on_normal_labels(learner: Any) -> Any:
    transformer = QuantileTransformer(n_quantiles=100, output_distribution="normal")
    return TransformedTargetRegressor(learner, transformer=transformer)


BASELINES: Mapping[str, Callable[[int], Any]] = MappingProxyType(
    {
        "gradient_boosting": gradient_boosting,
        "random_forest": random_forest,
        "extra_trees": extra_trees,
        "gaussian_process": gaussian_process,
    }
)
"""Name to a function that makes an unfitted scikit-learn regressor from a seed."""
