"""The artifacts that the stages exchange: which stage writes them, their file names and formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagekit.volume.artifact import Artifact
from stagekit.volume.formats import BINARY, JSON, TEXT, PickleFormat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stagekit.volume.parts import Part

PICKLE = PickleFormat(
    # Read off the pipeline's own artifacts; a test compares the list with them.
    allowed=frozenset(
        {
            ("builtins", "slice"),
            ("numpy", "clip"),
            ("numpy", "dtype"),
            ("numpy", "log1p"),
            ("numpy", "ndarray"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy._core.numeric", "_frombuffer"),
            ("pandas", "DataFrame"),
            ("pandas", "Index"),
            ("pandas", "RangeIndex"),
            ("pandas", "StringDtype"),
            ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
            ("pandas._libs.internals", "_unpickle_block"),
            ("pandas.arrays", "StringArray"),
            ("pandas.core.indexes.base", "_new_Index"),
            ("pandas.core.internals.managers", "BlockManager"),
            ("services.contract.preparation", "Preparation"),
            ("sklearn.cluster._kmeans", "KMeans"),
            ("sklearn.compose._column_transformer", "ColumnTransformer"),
            ("sklearn.pipeline", "Pipeline"),
            ("sklearn.preprocessing._data", "StandardScaler"),
            ("sklearn.preprocessing._function_transformer", "FunctionTransformer"),
        }
    ),
    # Their pickles hold private classes and attributes, which only the same version is sure to understand.
    libraries=("pandas", "scikit-learn"),
)

CUSTOMERS = Artifact("extract", "customers.pkl", PICKLE)
FEATURES = Artifact("transform", "features.pkl", PICKLE, columns="feature_columns")
DROPPED = Artifact("transform", "dropped.csv", TEXT)
MODEL = Artifact("train", "kmeans_custom.sav", PICKLE)
SWEEP = Artifact("train", "sweep.pkl", PICKLE)
METRICS = Artifact("train", "metrics.json", JSON)
EVALUATION = Artifact("evaluate", "evaluation.json", JSON)
SEGMENTATION = Artifact("segment", "segmentation.json", JSON)
SEGMENTER = Artifact("segment", "segmenter.pkl", PICKLE)
SEGMENTS = Artifact("segment", "segments.csv", TEXT)
SEGMENTS_PARQUET = Artifact("segment", "segments.parquet", BINARY)
PROFILE = Artifact("segment", "profile.csv", TEXT)
MIGRATION = Artifact("segment", "migration.csv", TEXT)
POINTS = Artifact("segment", "points.csv", TEXT)
DESCRIPTION = Artifact("segment", "description.csv", TEXT)
RULES = Artifact("segment", "rules.json", JSON)
REPORT = Artifact("report", "report.html", TEXT)
SCORES = Artifact("score", "segments.csv", TEXT)
CHANGED = Artifact("changes", "changed.csv", TEXT)
CRM = Artifact("changes", "crm.csv", TEXT)


def load_scaled(part: Part) -> NDArray[np.float64]:
    """Load the standardised features of a part of FEATURES, shape (n_part, n_features)."""
    scaled: NDArray[np.float64] = part.load()["scaled"]
    return scaled
