"""Functions that run on one part of the customer table: in this process, in another one, or on a Dask worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import Preparation
from services.transform.features import check_columns, list_dropped
from stagekit.volume.parts import OutputLocation, Part, PendingPart


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
    """Load the columns of a part that the preparation needs: the features, the group column, and some ids.

    Only the ids of customers without a value for each feature or its logarithm, which messages name, are kept: all ids of ten
    million customers take 0.7 GB.

    Raises
    ------
    UsageError
        A column is missing or not numeric.
    """
    customers: pd.DataFrame = part.load()
    check_columns(customers, feature_columns, group_column)
    columns = customers[[*feature_columns, *([] if group_column is None else [group_column])]].copy()
    if CUSTOMER_ID in customers:
        is_named = columns[list(feature_columns)].isna().any(axis=1) | (columns[list(log_columns)] < 0).any(axis=1)
        columns[CUSTOMER_ID] = customers[CUSTOMER_ID].where(is_named)
    return columns


def prepare_part(columns: pd.DataFrame, part: Part, *, preparation: Preparation, target: OutputLocation) -> PreparedPart:
    """Write the features of the customers that can be transformed, as a pending part of features.pkl.

    Parameters
    ----------
    columns : DataFrame
        As `load_columns` returns it.
    part : Part
        Of the customer table.
    preparation : Preparation
        Fitted.
    target : tuple of Path and str
        Folder and name of features.pkl.
    """
    # The ids of outliers were not known when the columns were loaded.
    customers = part.load() if preparation.drops_outliers else columns
    can_transform = preparation.fits(customers)
    draft = None
    if can_transform.any():
        scaled = preparation.transform(customers.loc[can_transform, list(preparation.columns)])
        payload = {"scaled": scaled, "feature_columns": list(preparation.feature_columns), "preparation": preparation}
        draft = target.write(payload)
    return PreparedPart(draft, len(customers), list_dropped(customers, preparation))
