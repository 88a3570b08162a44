"""The pipeline: its stages in order, and for each its settings and what it reads, writes and publishes."""

from __future__ import annotations

from services.contract.artifacts import (
    CHANGED,
    CRM,
    CUSTOMERS,
    DESCRIPTION,
    DROPPED,
    EVALUATION,
    FEATURES,
    METRICS,
    MIGRATION,
    MODEL,
    POINTS,
    PROFILE,
    REPORT,
    RULES,
    SCORES,
    SEGMENTATION,
    SEGMENTER,
    SEGMENTS,
    SEGMENTS_PARQUET,
    SWEEP,
)
from services.contract.settings import (
    EvaluateSettings,
    ExtractSettings,
    PipelineSettings,
    ReportSettings,
    ScoreSettings,
    SegmentSettings,
    TrainSettings,
    TransformSettings,
)
from stagekit.pipeline import Pipeline, Stage
from stagekit.prune.stage import PRUNE

PIPELINE = Pipeline(
    name="customer-segmentation",
    dag_id="customer_segmentation_lab1",
    stages=(
        Stage("extract", ExtractSettings, writes=(CUSTOMERS,)),
        Stage("transform", TransformSettings, reads=(CUSTOMERS,), writes=(FEATURES, DROPPED)),
        Stage("train", TrainSettings, reads=(FEATURES,), writes=(SWEEP, MODEL, METRICS)),
        Stage("evaluate", EvaluateSettings, reads=(FEATURES, METRICS, MODEL, SWEEP), writes=(EVALUATION,)),
        Stage(
            "segment",
            SegmentSettings,
            reads=(CUSTOMERS, FEATURES, SWEEP, EVALUATION),
            writes=(
                SEGMENTS,
                SEGMENTS_PARQUET,
                PROFILE,
                DESCRIPTION,
                RULES,
                MIGRATION,
                POINTS,
                SEGMENTATION,
                SEGMENTER,
            ),
            publishes=(SEGMENTER, SEGMENTS, MODEL),
        ),
        Stage(
            "report",
            ReportSettings,
            reads=(EVALUATION, SEGMENTATION, PROFILE, DESCRIPTION, RULES, MIGRATION, POINTS),
            writes=(REPORT,),
        ),
    ),
    others=(
        Stage("changes", reads=(SEGMENTS, CRM), writes=(CRM, CHANGED)),
        Stage(
            "score",
            ScoreSettings,
            reads=(SEGMENTER, SEGMENTS),
            writes=(SCORES,),
            folder="scores/{run}",
            image="segment",
            module="services.segment.score",
        ),
        PRUNE,
    ),
    libraries=("numpy", "scipy", "pandas", "scikit-learn", "kneed", "matplotlib", "jinja2", "pydantic"),
    settings=PipelineSettings,
    former_environment_prefix="SEGMENTATION_",
    registry="services.contract.segment_registry:SegmentRegistry",
)
