"""The page: report.html.jinja and its parts contain the text, report.css the layout; this module fills them in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from services.contract.results import ClusterFlow
from services.report import formatting, tables
from services.report.alluvial import Column, Flow, draw_alluvial
from services.report.charts import draw_development, draw_map, draw_silhouettes, draw_stability
from services.report.k_charts import draw_elbow, draw_metric, draw_structure
from services.report.report_data import ReportData
from services.report.svg import Chart, to_svg
from services.report.theme import CSS_VARIABLES, SegmentStyle, assign_styles

_MAX_RUNS = 26
"""Number of runs in the charts over time, the latest ones: half a year of weekly runs."""

Styles = Mapping[int, SegmentStyle]


def render(data: ReportData) -> str:
    """Return the report of one run as HTML that loads nothing else."""
    segmentation = data.segmentation
    segment_ids = {segment.segment_id for segment in segmentation.segments}
    earlier_ids = {row.from_segment_id for row in data.migration if row.from_segment_id is not None}
    styles = assign_styles(segment_ids, vanished_ids=earlier_ids - segment_ids)
    metrics = tables.metric_curves(data.evaluation)
    charts = _technical_charts(data, styles) | _comparison_charts(data, styles)
    for index, metric in enumerate(metrics):
        charts[f"metric-{index}"] = draw_metric(
            metric.title, data.evaluation.candidates, metric.values, data.evaluation.chosen_k
        )
    return _template().render(
        data=data,
        evaluation=data.evaluation,
        chosen=data.chosen,
        n_resamples=data.chosen.n_resamples or data.evaluation.resamples,
        segmentation=segmentation,
        comparison=segmentation.comparison,
        manifests=data.manifests,
        shown=tables.largest_segments(segmentation),
        styles=styles,
        rules={segment.segment_id: segment for segment in (data.rules.segments if data.rules else ())},
        description=tables.describe_columns(data.description),
        metrics=metrics,
        charts={name: to_svg(chart, name, CSS_VARIABLES) for name, chart in charts.items()},
        features=_feature_order(data),
        migration=tables.migration_matrix(data.migration),
        data_files=tables.data_files(data.manifests),
        settings={stage: tables.setting_rows(stage, manifest) for stage, manifest in data.manifests.items()},
        versions=tables.library_versions(data.manifests),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = {name: value for name, value in vars(formatting).items() if not name.startswith("_") and callable(value)}
    environment.filters.update(functions, css=lambda colour: CSS_VARIABLES.get(colour, colour))
    return environment.get_template("report.html.jinja")


def _feature_order(data: ReportData) -> list[str]:
    """Return the clustering features in the order of the setting; profile.csv has another one for each segment."""
    requested = data.manifests["extract"].settings["feature_columns"]
    names = {row.feature: None for row in data.profile}
    return sorted(names, key=lambda name: requested.index(name) if name in requested else len(requested))


def _technical_charts(data: ReportData, styles: Styles) -> dict[str, Chart]:
    evaluation, segments = data.evaluation, tables.largest_segments(data.segmentation)
    charts = {
        "elbow": draw_elbow(evaluation.candidates, evaluation.chosen_k, evaluation.elbow),
        "stability": draw_stability(segments, styles),
        "silhouettes": draw_silhouettes(data.points, segments, styles),
        "map": draw_map(data.points, data.segmentation.segments, styles),
    }
    if data.chosen.structure is not None:
        charts["structure"] = draw_structure(data.chosen.structure.separation, evaluation.chosen_k)
    return charts


def _comparison_charts(data: ReportData, styles: Styles) -> dict[str, Chart]:
    """Draw the charts that compare this segmentation with earlier runs and with other numbers of segments."""
    charts = _development_charts(data, styles)
    matrix = tables.migration_matrix(data.migration)
    flows = [Flow(*ends, customers) for ends, customers in matrix.customers.items()]
    if flows:
        figure = draw_alluvial([Column("previous run", styles), Column("this run", styles)], [flows])
        charts["migration"] = Chart(figure, "Migration since the previous run", _describe_migration(data))
    if data.segmentation.across_k:
        charts["across-k"] = _draw_across_k(data, styles)
    return charts


def _development_charts(data: ReportData, styles: Styles) -> dict[str, Chart]:
    """Draw sizes and stability of the segments over the published runs and this one."""
    runs = [run for run in data.history if run.status == "published" or run.run == data.segmentation.run][-_MAX_RUNS:]
    if len(runs) < 2:
        return {}
    dates = [f"{run.started.day} {run.started:%b}" for run in runs]
    if len(set(dates)) < len(dates):
        dates = [f"{date} {run.started:%H:%M}" for date, run in zip(dates, runs, strict=True)]
    sizes: dict[int, list[float | None]] = {}
    stability: dict[int, list[float | None]] = {}
    for segment in tables.largest_segments(data.segmentation):
        entries = [next((one for one in run.segments if one.segment_id == segment.segment_id), None) for run in runs]
        totals = [max(run.customers - run.unassigned, 1) for run in runs]
        sizes[segment.segment_id] = [one.customers / total if one else None for one, total in zip(entries, totals, strict=True)]
        stability[segment.segment_id] = [one.jaccard if one else None for one in entries]
    return {
        "sizes": draw_development("Sizes over time", sizes, dates, styles, formatting.format_percent),
        "stabilities": draw_development("Stability over time", stability, dates, styles, formatting.format_score),
    }


def _describe_migration(data: ReportData) -> str:
    stayed = sum(row.customers for row in data.migration if row.from_segment_id == row.to_segment_id is not None)
    moves = [
        f"{row.customers:,} from {_label(row.from_segment_id, row.from_segment_name)} "
        f"to {_label(row.to_segment_id, row.to_segment_name)}"
        for row in sorted(data.migration, key=lambda row: -row.customers)
        if row.from_segment_id != row.to_segment_id
    ]
    total = sum(row.customers for row in data.migration)
    largest = f" The largest moves: {'; '.join(moves[:10])}." if moves else ""
    return f"{stayed:,} of {total:,} customers stayed in their segment.{largest}"


def _label(segment_id: int | None, name: str | None) -> str:
    return "none" if segment_id is None else f"{segment_id} {name}"


def _draw_across_k(data: ReportData, styles: Styles) -> Chart:
    """Draw the segments between the clusters of the next smaller and the next larger number of segments."""
    k = data.segmentation.k
    shown = {segment.segment_id for segment in tables.largest_segments(data.segmentation)}
    columns = [Column(f"{k} segments", styles)]
    flows: list[list[Flow]] = []
    for solution in sorted(data.segmentation.across_k, key=lambda solution: solution.k):
        visible = [flow for flow in solution.flows if flow.segment_id in shown]
        place = _order_clusters(visible)
        if solution.k < k:
            columns.insert(0, Column(f"{solution.k} segments", {}))
            flows.insert(0, [Flow(place[flow.cluster], flow.segment_id, flow.customers) for flow in visible])
        else:
            columns.append(Column(f"{solution.k} segments", {}))
            flows.append([Flow(flow.segment_id, place[flow.cluster], flow.customers) for flow in visible])
    similarities = [
        f"with {solution.k} segments: "
        + ", ".join(
            f"segment {one.segment_id} {formatting.format_score(one.best_jaccard)}"
            for one in solution.segments
            if one.segment_id in shown
        )
        for solution in data.segmentation.across_k
    ]
    description = f"Similarity of every segment with the most similar group, from 0 to 1, {'; '.join(similarities)}."
    return Chart(draw_alluvial(columns, flows), "The segments with fewer and with more segments", description)


def _order_clusters(flows: Sequence[ClusterFlow]) -> dict[int, int]:
    """Place each cluster beside the segments that most of its customers are in, so that few ribbons cross."""
    customers, weighted = Counter[int](), Counter[int]()
    for flow in flows:
        customers[flow.cluster] += flow.customers
        weighted[flow.cluster] += flow.customers * flow.segment_id
    order = sorted(customers, key=lambda cluster: weighted[cluster] / customers[cluster])
    return {cluster: place for place, cluster in enumerate(order)}
