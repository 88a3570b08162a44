"""What the other stages found out about one run, as they wrote it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.contract.results import MIGRATION_COLUMNS, POINTS_COLUMNS, PROFILE_COLUMNS, Candidate, Evaluation, Segmentation
from stagekit.errors import DataError
from stagekit.tables.csv_injection import unescape
from stagekit.volume.manifest import Manifest


@dataclass(frozen=True)
class Trait:
    """One feature of one segment; None where there is nothing to average."""

    segment_id: int
    feature: str
    median: float | None
    mean: float | None
    index: float | None
    sets_apart: int
    effect: float | None = None
    """Standard deviations above the mean of all customers, after logarithm and scaling."""


class Move(NamedTuple):
    """How many customers went from one segment to another; None where they were in no segment."""

    origin: int | None
    origin_name: str
    target: int | None
    target_name: str
    customers: int


class Point(NamedTuple):
    """One customer of the sample for the pictures."""

    x: float
    y: float
    segment_id: int
    silhouette: float


class Findings(NamedTuple):
    evaluation: Evaluation
    segmentation: Segmentation
    profile: list[Trait]
    moves: list[Move]
    points: list[Point]
    manifests: dict[str, Manifest]
    """The stages before this one, in the order in which they ran."""

    @property
    def chosen(self) -> Candidate:
        return next(candidate for candidate in self.evaluation.candidates if candidate.k == self.evaluation.chosen_k)

    @property
    def status(self) -> str:
        if self.segmentation.experimental:
            return "experimental"
        if not self.segmentation.published:
            return "held back"
        return "published on request" if self.segmentation.held_back else "published"


def read_profile(text: str) -> list[Trait]:
    return [
        Trait(
            int(row["segment_id"]),
            unescape(row["feature"]),
            _number(row["median"]),
            _number(row["mean"]),
            _number(row["index"]),
            int(row["sets_apart"]),
            _number(row["effect"]),
        )
        for row in _read(text, PROFILE_COLUMNS, "profile.csv")
    ]


def read_migration(text: str) -> list[Move]:
    return [
        Move(
            int(row["from_segment_id"]) if row["from_segment_id"] else None,
            unescape(row["from_segment_name"]),
            int(row["to_segment_id"]) if row["to_segment_id"] else None,
            unescape(row["to_segment_name"]),
            int(row["customers"]),
        )
        for row in _read(text, MIGRATION_COLUMNS, "migration.csv")
    ]


def read_points(text: str) -> list[Point]:
    return [
        Point(float(row["x"]), float(row["y"]), int(row["segment_id"]), float(row["silhouette"]))
        for row in _read(text, POINTS_COLUMNS, "points.csv")
    ]


def _read(text: str, columns: Sequence[str], name: str) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    if tuple(reader.fieldnames or ()) != tuple(columns):
        raise DataError(
            f"{name} has columns {', '.join(reader.fieldnames or ())}, expected {', '.join(columns)}: run segment again"
        )
    return list(reader)


def _number(text: str) -> float | None:
    return float(text) if text else None
