"""What is done with one part of the customer table, in whichever process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import Preparation
from services.transform.features import check_columns, list_dropped
from stagekit.volume.parts import Part, PendingPart, save_draft

T = TypeVar("T")


class Prepared(NamedTuple):
    """A part whose features are written."""

    draft: PendingPart | None
    """None where nobody fits."""
    rows: int
    dropped: pd.DataFrame
    """See `list_dropped`."""

    @property
    def reasons(self) -> Counter[str]:
        return Counter(self.dropped["reason"].tolist())


def map_part(function: Callable[[pd.DataFrame], T], part: Part) -> T:
    return function(part.load())


def load_columns(
    part: Part, *, feature_columns: Sequence[str], group_column: str | None, log_columns: Sequence[str]
) -> pd.DataFrame:
    """Load the features, the group column and the ids of negative log columns of a part, for `fit_preparation_to_parts`.

    Raises
    ------
    UsageError
        A column is missing or not numeric.
    """
    customers: pd.DataFrame = part.load()
    check_columns(customers, feature_columns, group_column)
    columns = customers[[*feature_columns, *([] if group_column is None else [group_column])]].copy()
    if CUSTOMER_ID in customers and log_columns:
        # Only ids that an error message may name: all ids of ten million customers take 0.7 GB.
        is_negative = (customers[list(log_columns)] < 0).any(axis=1)
        columns[CUSTOMER_ID] = customers[CUSTOMER_ID].where(is_negative)
    return columns


def prepare_part(part: Part, preparation: Preparation, target: tuple[Path, str]) -> Prepared:
    """Write the features of the customers whom the preparation fits, as a draft of features.pkl."""
    customers: pd.DataFrame = part.load()
    fits = preparation.fits(customers)
    draft = None
    if fits.any():
        scaled = preparation.transform(customers.loc[fits, list(preparation.columns)])
        payload = {"scaled": scaled, "feature_columns": list(preparation.feature_columns), "preparation": preparation}
        draft = save_draft(*target, payload)
    return Prepared(draft, len(customers), list_dropped(customers, preparation))
