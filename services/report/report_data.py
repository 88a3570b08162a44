"""The results of the other stages of one run, as the report needs them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from typing import Literal, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from services.contract.results import (
    Candidate,
    DescriptionRow,
    Evaluation,
    MigrationRow,
    ProfileRow,
    Rules,
    RunSummary,
    SamplePoint,
    Segmentation,
)
from stagekit.errors import DataError
from stagekit.tables.csv_injection import unescape
from stagekit.volume.manifest import Manifest, format_validation_error

Row = TypeVar("Row")

_FORMER_COLUMNS = {"sets_apart": "feature_rank"}


class ReportData(NamedTuple):
    """The parsed results of a run."""

    evaluation: Evaluation
    segmentation: Segmentation
    profile: list[ProfileRow]
    migration: list[MigrationRow]
    points: list[SamplePoint]
    description: list[DescriptionRow]
    """Empty in older runs."""
    rules: Rules | None
    """None in older runs."""
    history: Sequence[RunSummary]
    """The runs up to this one, in the order in which they started."""
    manifests: dict[str, Manifest]
    """Those of the stages before this one, in the order in which they ran."""

    @property
    def chosen(self) -> Candidate:
        """The candidate of the chosen k."""
        return next(candidate for candidate in self.evaluation.candidates if candidate.k == self.evaluation.chosen_k)

    @property
    def status(self) -> Literal["experimental", "not published", "published", "published manually despite failed checks"]:
        """The publication status of the run."""
        if self.segmentation.experimental:
            return "experimental"
        if not self.segmentation.published:
            return "not published"
        return "published manually despite failed checks" if self.segmentation.held_back else "published"


def read_rows(row_type: type[Row], text: str, name: str) -> list[Row]:
    """Parse a CSV file whose columns are the fields of `row_type`; an empty cell is None.

    Raises
    ------
    DataError
        If the file has other columns or a value of another type: another version of its stage wrote it.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    expected = [field.name for field in fields(row_type)]  # type: ignore[arg-type]
    columns = [_FORMER_COLUMNS.get(name, name) for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    if columns != expected:
        raise DataError(f"{name} has columns {', '.join(columns)}, expected {', '.join(expected)}: run segment again")
    records = [{column: unescape(value) if value else None for column, value in row.items()} for row in reader]
    try:
        return TypeAdapter(list[row_type]).validate_python(records)  # type: ignore[valid-type]
    except ValidationError as error:
        raise DataError(f"{name} cannot be read ({format_validation_error(error)}): run segment again") from None
