"""Functions that run on one part of the features: in this process, in another one, or on a Dask worker."""

from __future__ import annotations

from services.train.parallel import Rows
from stagekit.volume.parts import Part


def load_scaled(part: Part) -> Rows:
    """Load the standardised features of a part, shape (n_part, n_features)."""
    scaled: Rows = part.load()["scaled"]
    return scaled
