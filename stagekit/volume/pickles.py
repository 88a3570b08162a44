"""Unpickling without trust: a pickle may name the classes that this pipeline writes, and nothing else."""

from __future__ import annotations

import pickle
from typing import IO, Any

from stagekit.errors import DataError

# Where each comes from was read off the pipeline's own artifacts; a test holds the list against them.
ALLOWED = frozenset(
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
)


class _AllowListUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which this pipeline never writes")
        return super().find_class(module, name)


def load_pickle(file: IO[bytes], name: str) -> Any:
    """Unpickle `file`; raises DataError where it is no pickle of this pipeline's making."""
    try:
        return _AllowListUnpickler(file).load()
    except MemoryError:
        raise
    except Exception as error:  # a broken pickle can raise nearly anything
        raise DataError(f"{name} cannot be unpickled: {error}; run the stage that writes it again") from error
