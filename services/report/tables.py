"""Tables of the page, with limits that keep it readable for many segments and columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from services.contract.results import DescriptionRow, Evaluation, MigrationRow, Segment, Segmentation
from services.pipeline import PIPELINE
from stagekit.volume.manifest import FileRecord, Manifest

MAX_SEGMENTS = 12
"""Number of segments in charts and tables; the largest ones if there are more."""
MAX_COLUMNS = 40
"""Number of rows in the table of all columns; those with the largest differences if there are more."""
_N_STRONGEST = 5


def largest_segments(segmentation: Segmentation) -> list[Segment]:
    """Return at most `MAX_SEGMENTS` segments, the largest ones, in the order of their ids."""
    largest = sorted(segmentation.segments, key=lambda segment: segment.customers, reverse=True)[:MAX_SEGMENTS]
    return sorted(largest, key=lambda segment: segment.segment_id)


class DescriptionTable(NamedTuple):
    """Description of the segments by all columns; an entry is a numeric column, or one text of a text column."""

    entries: list[DescriptionRow]
    """One row per entry, those with the largest difference in any segment first; at most `MAX_COLUMNS`."""
    n_entries: int
    """Before the limit."""
    cells: dict[tuple[int, str, str | None], DescriptionRow]
    """By segment id, column and text."""
    strongest: dict[int, list[DescriptionRow]]
    """By segment id, the entries with the largest differences."""


def describe_columns(rows: Sequence[DescriptionRow]) -> DescriptionTable:
    """Order the entries by their largest absolute difference, and select those to show."""
    by_difference = sorted(rows, key=lambda row: -abs(row.difference or 0.0))
    entries: dict[tuple[str, str | None], DescriptionRow] = {}
    for row in by_difference:
        entries.setdefault((row.column, row.level), row)
    strongest: dict[int, list[DescriptionRow]] = {}
    for row in sorted(rows, key=lambda row: row.rank):
        if row.difference and len(strongest.setdefault(row.segment_id, [])) < _N_STRONGEST:
            strongest[row.segment_id].append(row)
    cells = {(row.segment_id, row.column, row.level): row for row in rows}
    return DescriptionTable(list(entries.values())[:MAX_COLUMNS], len(entries), cells, strongest)


class MigrationMatrix(NamedTuple):
    """Customers by previous segment (rows) and current segment (columns), the largest segments only."""

    sources: dict[int | None, str]
    targets: dict[int | None, str]
    customers: dict[tuple[int | None, int | None], int]
    n_hidden: int
    """Number of segments that are left out of rows or columns."""


def migration_matrix(rows: Sequence[MigrationRow]) -> MigrationMatrix:
    """Arrange the migration between segments as a matrix."""
    sources = _largest([(row.from_segment_id, row.from_segment_name, row.customers) for row in rows])
    targets = _largest([(row.to_segment_id, row.to_segment_name, row.customers) for row in rows])
    n_hidden = max(
        len({row.from_segment_id for row in rows}) - len(sources), len({row.to_segment_id for row in rows}) - len(targets)
    )
    return MigrationMatrix(
        sources,
        targets,
        {
            (row.from_segment_id, row.to_segment_id): row.customers
            for row in rows
            if row.from_segment_id in sources and row.to_segment_id in targets
        },
        n_hidden,
    )


def _largest(groups: Iterable[tuple[int | None, str | None, int]]) -> dict[int | None, str]:
    sizes = Counter[int | None]()
    names: dict[int | None, str] = {}
    for segment_id, name, customers in groups:
        sizes[segment_id] += customers
        names[segment_id] = name or ""
    kept = [segment_id for segment_id, _ in sizes.most_common(MAX_SEGMENTS + 1)]
    return {segment_id: names[segment_id] for segment_id in sorted(kept, key=lambda one: (one is None, one or 0))}


class MetricCurve(NamedTuple):
    """A measure that is drawn over k beside the elbow."""

    title: str
    values: list[float | None]
    chosen: float | None
    best: str


def metric_curves(evaluation: Evaluation) -> list[MetricCurve]:
    """Return the curve of each metric over k."""
    candidates = evaluation.candidates
    return [
        _metric_curve(evaluation, "Silhouette", "highest", [c.silhouette for c in candidates]),
        _metric_curve(evaluation, "Davies–Bouldin", "lowest", [c.davies_bouldin for c in candidates]),
        _metric_curve(evaluation, "Calinski–Harabasz", "highest", [c.calinski_harabasz for c in candidates]),
        _metric_curve(evaluation, "Weakest stability", "highest", [c.weakest for c in candidates]),
        _metric_curve(evaluation, "Agreement (ARI)", "highest", [c.ari for c in candidates]),
        _metric_curve(evaluation, "Smallest share, %", "highest", [100 * c.smallest_share for c in candidates]),
    ]


def _metric_curve(evaluation: Evaluation, title: str, best: str, values: Sequence[float | None]) -> MetricCurve:
    k_values = [candidate.k for candidate in evaluation.candidates]
    known = {k: value for k, value in zip(k_values, values, strict=True) if value is not None}
    find_best = max if best == "highest" else min
    best_k = find_best(known, key=known.__getitem__, default="no k")
    return MetricCurve(title, list(values), values[k_values.index(evaluation.chosen_k)], f"best ({best}) at {best_k}")


class SettingRow(NamedTuple):
    """A setting of a stage, with the source of its value."""

    title: str
    value: Any
    source: str


def setting_rows(stage: str, manifest: Manifest) -> list[SettingRow]:
    """List the settings of a stage from its manifest."""
    titles = {name: field.title for name, field in PIPELINE[stage].settings.model_fields.items()}
    return [
        SettingRow(titles.get(name) or name, value, manifest.setting_sources.get(name, "default"))
        for name, value in manifest.settings.items()
    ]


def data_files(manifests: Mapping[str, Manifest]) -> list[FileRecord]:
    """List the input files that no stage of this run wrote."""
    records = [record for manifest in manifests.values() for record in manifest.inputs]
    return list(dict.fromkeys(record for record in records if record.stage is None))


def library_versions(manifests: Mapping[str, Manifest]) -> dict[tuple[str, str], list[str]]:
    """Map each version of a library to the stages that used it."""
    stages: dict[tuple[str, str], list[str]] = {}
    for stage, manifest in manifests.items():
        for library_and_version in manifest.versions.items():
            stages.setdefault(library_and_version, []).append(stage)
    return stages
