"""Estimators that make libraries answer in the data's own words."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone


class LabelledClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Gives any labels to a classifier that counts its classes from 0, as XGBoost's does."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, features: Any, labels: Any) -> Self:
        """Fit on features of shape (rows, columns) and labels of shape (rows,)."""
        self.classes_, codes = np.unique(np.asarray(labels), return_inverse=True)
        self.estimator_ = clone(self.estimator).fit(features, codes)
        return self

    def predict(self, features: Any) -> npt.NDArray[Any]:
        """The most probable label of each row, shape (rows,)."""
        labels: npt.NDArray[Any] = self.classes_[self.estimator_.predict(features)]
        return labels

    def predict_proba(self, features: Any) -> npt.NDArray[np.float64]:
        """Probabilities of shape (rows, classes), in the order of `classes_`."""
        probabilities: npt.NDArray[np.float64] = self.estimator_.predict_proba(features)
        return probabilities
