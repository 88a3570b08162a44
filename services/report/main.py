"""Report: summarise a run on one HTML page; reads JSON and CSV only and unpickles nothing."""

import logging
from itertools import takewhile
from typing import Any

from services.contract import artifacts
from services.contract.results import (
    DescriptionRow,
    Evaluation,
    MigrationRow,
    ProfileRow,
    Rules,
    RunSummary,
    SamplePoint,
    Segmentation,
)
from services.contract.settings import ReportSettings
from services.pipeline import PIPELINE
from services.report.page import render
from services.report.report_data import ReportData, read_rows
from stagekit.volume.workspace import Workspace

log = logging.getLogger(__name__)


def main(_: ReportSettings, work: Workspace) -> dict[str, Any]:
    manifests = {stage: work.manifest(stage) for stage in takewhile(lambda stage: stage != work.stage, PIPELINE.stage_names)}
    started = manifests["extract"].started
    is_current = bool(work.manifest(artifacts.RULES.stage).parts(artifacts.RULES.name))  # older runs have fewer files
    data = ReportData(
        evaluation=work.load_as(Evaluation, artifacts.EVALUATION),
        segmentation=work.load_as(Segmentation, artifacts.SEGMENTATION),
        profile=read_rows(ProfileRow, work.load(artifacts.PROFILE), "profile.csv"),
        migration=read_rows(MigrationRow, work.load(artifacts.MIGRATION), "migration.csv"),
        points=read_rows(SamplePoint, work.load(artifacts.POINTS), "points.csv"),
        description=read_rows(DescriptionRow, work.load(artifacts.DESCRIPTION), "description.csv") if is_current else [],
        rules=work.load_as(Rules, artifacts.RULES) if is_current else None,
        history=[run for run in work.read_history(RunSummary) if run.started <= started],
        manifests=manifests,
    )
    page = render(data)
    log.info("%d segments, %d charts, %s", data.segmentation.k, page.count("<svg"), data.status)
    work.save(artifacts.REPORT, page)
    return {"report": artifacts.REPORT.name, "bytes": len(page.encode())}
