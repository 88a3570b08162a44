"""Functions that run on one part of the customer table: in this process, in another one, or on a Dask worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import pandas as pd

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import Preparation
from services.transform.features import check_columns, list_dropped
from stagekit.volume.parts import OutputLocation, Part, PendingPart

T = TypeVar("T")


class PreparedPart(NamedTuple):
    """A part whose features are written, but not yet renamed into place."""

    draft: PendingPart | None
    """None if no customer of the part can be transformed."""
    n_rows: int
    dropped: pd.DataFrame
    """See `list_dropped`."""

    @property
    def reasons(self) -> Counter[str]:
        """Number of dropped customers by reason."""
        return Counter(self.dropped["reason"].tolist())


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


def prepare_part(part: Part, preparation: Preparation, target: OutputLocation) -> PreparedPart:
    """Write the features of the customers that can be transformed, as a pending part of features.pkl.

    Parameters
    ----------
    part : Part
        Of the customer table.
    preparation : Preparation
        Fitted.
    target : tuple of Path and str
        Folder and name of features.pkl.
    """
    customers: pd.DataFrame = part.load()
    can_transform = preparation.fits(customers)
    draft = None
    if can_transform.any():
        scaled = preparation.transform(customers.loc[can_transform, list(preparation.columns)])
        payload = {"scaled": scaled, "feature_columns": list(preparation.feature_columns), "preparation": preparation}
        draft = target.write(payload)
    return PreparedPart(draft, len(customers), list_dropped(customers, preparation))
