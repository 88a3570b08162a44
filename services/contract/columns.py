"""The columns of a credit-card table."""

from __future__ import annotations

from stagekit.tables.table_schema import KnownColumns, TableFormat

CUSTOMER_ID = "CUST_ID"
"""Name of the id column in everything that the stages write, whatever its name is in the user's table."""

NUMERIC_COLUMNS = (
    "BALANCE",
    "BALANCE_FREQUENCY",
    "PURCHASES",
    "ONEOFF_PURCHASES",
    "INSTALLMENTS_PURCHASES",
    "CASH_ADVANCE",
    "PURCHASES_FREQUENCY",
    "ONEOFF_PURCHASES_FREQUENCY",
    "PURCHASES_INSTALLMENTS_FREQUENCY",
    "CASH_ADVANCE_FREQUENCY",
    "CASH_ADVANCE_TRX",
    "PURCHASES_TRX",
    "CREDIT_LIMIT",
    "PAYMENTS",
    "MINIMUM_PAYMENTS",
    "PRC_FULL_PAYMENT",
    "TENURE",
)
"""The known columns besides CUST_ID; a table may have others."""

_MAY_BE_NEGATIVE = {"BALANCE"}  # a customer who has paid too much is in credit

CUSTOMER_COLUMNS = KnownColumns(CUSTOMER_ID, frozenset(NUMERIC_COLUMNS), frozenset(NUMERIC_COLUMNS) - _MAY_BE_NEGATIVE)
CUSTOMER_FORMAT = TableFormat(CUSTOMER_ID, known=CUSTOMER_COLUMNS)
"""Format of a customer table with the default settings."""
