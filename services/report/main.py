"""Report: put what the run found out into one page; reads JSON and CSV only, so it unpickles nothing."""

import logging
from itertools import takewhile
from typing import Any

from services.contract import artifacts
from services.contract.results import Evaluation, Segmentation
from services.contract.settings import ReportSettings
from services.pipeline import PIPELINE
from services.report.page import render
from services.report.report_data import Findings, read_migration, read_points, read_profile
from stagekit.volume.workspace import Workspace

log = logging.getLogger(__name__)


def main(_: ReportSettings, work: Workspace) -> dict[str, Any]:
    findings = Findings(
        evaluation=work.load_as(Evaluation, artifacts.EVALUATION),
        segmentation=work.load_as(Segmentation, artifacts.SEGMENTATION),
        profile=read_profile(work.load(artifacts.PROFILE)),
        moves=read_migration(work.load(artifacts.MIGRATION)),
        points=read_points(work.load(artifacts.POINTS)),
        manifests={stage: work.manifest(stage) for stage in takewhile(lambda stage: stage != work.stage, PIPELINE.stage_names)},
    )
    page = render(findings)
    log.info("%d segments, %d pictures, %s", findings.segmentation.k, page.count("<svg"), findings.status)
    work.save(artifacts.REPORT, page)
    return {"report": artifacts.REPORT.name, "bytes": len(page.encode())}
