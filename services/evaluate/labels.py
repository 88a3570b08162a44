"""Label new customers with a trained model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from sklearn.cluster import KMeans

from services.contract import tables
from services.contract.errors import DataError
from services.contract.preparation import Preparation
from services.contract.results import NewCustomer
from services.contract.tables import TableFormat


def read_new_customers(path: Path, preparation: Preparation, table_format: TableFormat = tables.DEFAULT_FORMAT) -> pd.DataFrame:
    """Read a CSV file of customers to label: DataFrame of shape (n_customers, n_columns), features as float64.

    Raises DataError that names file, column, row and value.
    """
    tables.read_header(path, preparation.columns, table_format)
    customers = pd.DataFrame(tables.read_rows(path, preparation.feature_columns, table_format))
    if customers.empty:
        raise DataError(f"{path.name} has no rows: expected at least one customer to label")
    return customers.astype(dict.fromkeys(preparation.feature_columns, "float64"))


def label_customers(customers: pd.DataFrame, preparation: Preparation, model: KMeans) -> list[NewCustomer]:
    """Find the nearest centroid of each customer, prepared as the training data was.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns), in the units of the table

    A customer whom the preparation does not fit gets a reason instead of a label. Features beyond anything that the model has
    seen are named.
    """
    fits = preparation.fits(customers).to_numpy()
    labels = iter(model.predict(preparation.transform(customers[fits])).tolist() if fits.any() else [])
    outside = preparation.outside_training_range(customers)
    names = customers[tables.CUSTOMER_ID].tolist() if tables.CUSTOMER_ID in customers else [None] * len(customers)
    return [
        NewCustomer(
            customer=name,
            label=next(labels) if fit else None,
            reason=reason,
            outside_training_range=tuple(outside.columns[beyond]),
        )
        for name, fit, reason, beyond in zip(names, fits, preparation.complaints(customers), outside.to_numpy(), strict=True)
    ]
