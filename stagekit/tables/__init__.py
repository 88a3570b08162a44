"""Strict reading of tables, and escaping of spreadsheet formulas."""
