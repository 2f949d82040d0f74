"""From the columns of an example to the numbers that a model reads."""

from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def preprocessing() -> Pipeline:
    """The unfitted transformers, first part of every model.

    They are saved with the model, so that serving cannot compute a feature differently from
    training. A new feature goes here: one of scikit-learn's transformers, or a function of this
    module in a `FunctionTransformer`.
    """
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    # A missing word is a word of its own, and one never seen in training is none of them.
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("words", words, make_column_selector(dtype_exclude="number")),
        ]
    )
    return make_pipeline(columns)
