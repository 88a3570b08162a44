"""The page: what stands where is in report.html.jinja, how it looks in report.css; this fills it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from services.contract.results import Evaluation
from services.pipeline import PIPELINE
from services.report import charts as pictures
from services.report import formatting as words
from services.report.alluvial import draw_migration
from services.report.report_data import Findings, Move
from services.report.svg import to_svg
from services.report.theme import CSS_OF, assign_styles
from stagekit.volume.manifest import FileRecord, Manifest


class Index(NamedTuple):
    """A measure that is drawn over k beside the elbow."""

    title: str
    values: list[float | None]
    chosen: float | None
    best: str


class Setting(NamedTuple):
    title: str
    value: Any
    source: str


class Crossing(NamedTuple):
    """The moves as a table: from the rows to the columns."""

    origins: dict[int | None, str]
    targets: dict[int | None, str]
    customers: dict[tuple[int | None, int | None], int]


def render(findings: Findings) -> str:
    """Write the report of one run as HTML that needs nothing from outside."""
    evaluation, segmentation = findings.evaluation, findings.segmentation
    segments = segmentation.segments
    known = {segment.segment_id for segment in segments}
    looks = assign_styles(known, gone={move.origin for move in findings.moves if move.origin is not None} - known)
    indices = _indices(evaluation)
    drawn = {
        "elbow": pictures.draw_elbow(evaluation.candidates, evaluation.chosen_k, evaluation.elbow),
        "stability": pictures.draw_stability(segments, looks),
        "silhouettes": pictures.draw_silhouettes(findings.points, segments, looks),
        "map": pictures.draw_map(findings.points, segments, looks),
    }
    if findings.chosen.structure is not None:
        drawn["structure"] = pictures.draw_structure(findings.chosen.structure.separation, evaluation.chosen_k)
    for place, index in enumerate(indices):
        drawn[f"index-{place}"] = pictures.draw_metric(index.title, evaluation.candidates, index.values, evaluation.chosen_k)
    if findings.moves:
        drawn["moves"] = draw_migration(findings.moves, looks)
    return _template().render(
        findings=findings,
        evaluation=evaluation,
        chosen=findings.chosen,
        n_resamples=findings.chosen.n_resamples or evaluation.resamples,
        segmentation=segmentation,
        manifests=findings.manifests,
        looks=looks,
        indices=indices,
        pictures={name: to_svg(picture, name, CSS_OF) for name, picture in drawn.items()},
        traits={(trait.segment_id, trait.feature): trait for trait in findings.profile},
        features=_features(findings),
        crossing=_cross(findings.moves),
        data_files=_data_files(findings.manifests),
        settings={stage: _settings(stage, manifest) for stage, manifest in findings.manifests.items()},
        versions=_versions(findings.manifests),
    )


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        words.breakable,
        words.change,
        words.consequence,
        words.day,
        words.heat,
        words.number,
        words.percent,
        words.score,
        words.separation,
        words.setting,
        words.shift,
        words.stability,
        words.whole,
        words.with_error,
    ):
        environment.filters[function.__name__] = function
    environment.filters["css"] = lambda colour: CSS_OF.get(colour, colour)
    return environment.get_template("report.html.jinja")


def _indices(evaluation: Evaluation) -> list[Index]:
    candidates = evaluation.candidates
    return [
        _index(evaluation, "Silhouette", "highest", [c.silhouette for c in candidates]),
        _index(evaluation, "Davies–Bouldin", "lowest", [c.davies_bouldin for c in candidates]),
        _index(evaluation, "Calinski–Harabasz", "highest", [c.calinski_harabasz for c in candidates]),
        _index(evaluation, "Weakest stability", "highest", [c.weakest for c in candidates]),
        _index(evaluation, "Agreement (ARI)", "highest", [c.ari for c in candidates]),
        _index(evaluation, "Smallest share, %", "highest", [100 * c.smallest_share for c in candidates]),
    ]


def _index(evaluation: Evaluation, title: str, best: str, values: Sequence[float | None]) -> Index:
    k_values = [candidate.k for candidate in evaluation.candidates]
    known = {value: k for k, value in zip(reversed(k_values), reversed(values), strict=True) if value is not None}
    best_k = known[max(known) if best == "highest" else min(known)] if known else "no k"
    return Index(title, list(values), values[k_values.index(evaluation.chosen_k)], f"best ({best}) at {best_k}")


def _features(findings: Findings) -> list[str]:
    """Name the features in the order in which the user did; the profile has them in another one for each segment."""
    asked_for = findings.manifests["extract"].settings["feature_columns"]
    found = {trait.feature: None for trait in findings.profile}
    return sorted(found, key=lambda name: asked_for.index(name) if name in asked_for else len(asked_for))


def _cross(moves: Sequence[Move]) -> Crossing:
    by_origin = sorted(moves, key=lambda move: (move.origin is None, move.origin or 0))
    by_target = sorted(moves, key=lambda move: (move.target is None, move.target or 0))
    return Crossing(
        {move.origin: move.origin_name for move in by_origin},
        {move.target: move.target_name for move in by_target},
        {(move.origin, move.target): move.customers for move in moves},
    )


def _data_files(manifests: Mapping[str, Manifest]) -> list[FileRecord]:
    """Pick the files that no stage of this run wrote."""
    found = [record for manifest in manifests.values() for record in manifest.inputs]
    return list(dict.fromkeys(record for record in found if record.stage is None))


def _settings(stage: str, manifest: Manifest) -> list[Setting]:
    fields = PIPELINE[stage].settings.model_fields
    titles = {name: field.title for name, field in fields.items()}
    return [
        Setting(titles.get(name) or name, value, manifest.setting_sources.get(name, "default"))
        for name, value in manifest.settings.items()
    ]


def _versions(manifests: Mapping[str, Manifest]) -> dict[tuple[str, str], list[str]]:
    """Name for each version of a library the stages that had it."""
    found: dict[tuple[str, str], list[str]] = {}
    for stage, manifest in manifests.items():
        for library_and_version in manifest.versions.items():
            found.setdefault(library_and_version, []).append(stage)
    return found
