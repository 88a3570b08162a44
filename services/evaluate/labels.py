"""Label new customers with a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
from sklearn.cluster import KMeans

from services.contract.columns import CUSTOMER_FORMAT, CUSTOMER_ID
from services.contract.preparation import Preparation
from services.contract.results import LabelledCustomer
from stagekit.errors import DataError
from stagekit.tables.strict_reader import Cell, read_header, read_rows
from stagekit.tables.table_schema import TableFormat


class NewCustomers(NamedTuple):
    """The rows of a test file up to the first one that cannot be read."""

    rows: pd.DataFrame
    """Shape (n_customers, n_columns); features as float64, in the units of the table."""
    problem: str
    """What ended the reading: file, row, column and value; empty at the end of the file."""


def read_new_customers(path: Path, preparation: Preparation, table_format: TableFormat = CUSTOMER_FORMAT) -> NewCustomers:
    """Read a CSV file of customers to label.

    Parameters
    ----------
    path : Path
    preparation : Preparation
        Its columns have to be in the file.
    table_format : TableFormat
        Delimiter, decimal separator and the name of the id column.

    Raises
    ------
    DataError
        If the file has no header with the columns that the preparation needs.
    """
    header = read_header(path, preparation.columns, table_format)
    rows: list[dict[str, Cell]] = []
    problem = ""
    try:
        # Keeps the rows before one that cannot be read.
        rows.extend(read_rows(path, preparation.feature_columns, table_format))
    except DataError as error:
        problem = str(error)
    if not rows and not problem:
        problem = f"{path.name} has no rows: expected one for each customer to label"
    customers = pd.DataFrame(rows, columns=header)
    return NewCustomers(customers.astype(dict.fromkeys(preparation.feature_columns, "float64")), problem)


def label_customers(new_customers: NewCustomers, preparation: Preparation, model: KMeans) -> list[LabelledCustomer]:
    """Assign each customer to the nearest centroid, after the same preparation as the training data.

    Parameters
    ----------
    new_customers : NewCustomers
    preparation : Preparation
        Fitted to the training data.
    model : KMeans
        Fitted.

    Returns
    -------
    list of LabelledCustomer
        One per row, at least one. A customer to whom the preparation cannot be applied gets a reason instead of a label, and so
        does the row that cannot be read. Features outside the training range are listed.
    """
    customers, problem = new_customers
    fits = preparation.fits(customers).to_numpy()
    labels = iter(model.predict(preparation.transform(customers[fits])).tolist() if fits.any() else [])
    outside = preparation.outside_training_range(customers)
    names = customers[CUSTOMER_ID].tolist() if CUSTOMER_ID in customers else [None] * len(customers)
    labelled = [
        LabelledCustomer(
            customer=name,
            label=next(labels) if fit else None,
            reason=reason,
            outside_training_range=tuple(outside.columns[beyond]),
        )
        for name, fit, reason, beyond in zip(names, fits, preparation.complaints(customers), outside.to_numpy(), strict=True)
    ]
    unreadable = LabelledCustomer(customer=None, label=None, reason=problem, outside_training_range=())
    return [*labelled, *([unreadable] if problem else [])]
