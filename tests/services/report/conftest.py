"""A small run to report on: two segments among eleven customers, compared with an earlier run."""

from datetime import UTC, datetime, timedelta

import pytest

from services.contract.results import (
    AcrossK,
    Candidate,
    ClusterFlow,
    ColumnValue,
    Comparison,
    Description,
    DescriptionRow,
    Evaluation,
    FeatureDip,
    LabelledCustomer,
    MigrationRow,
    NullComparison,
    ProfileRow,
    Rule,
    Rules,
    RunSummary,
    SamplePoint,
    Segment,
    SegmentAcrossK,
    Segmentation,
    SegmentRules,
    SegmentSummary,
    Structure,
)
from services.report import page
from services.report.report_data import ReportData
from stagekit.volume.manifest import FileRecord, Manifest

STARTED = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
STRUCTURE = Structure(
    k=2,
    n_customers=10,
    separation=NullComparison(
        observed=0.61, null_draws=(0.55, 0.57, 0.58, 0.6), null_mean=0.575, null_sd=0.018, p_value=0.2, effect=1.06
    ),
    silhouette=NullComparison(
        observed=0.5, null_draws=(0.4, 0.5, 0.5, 0.6), null_mean=0.5, null_sd=0.08, p_value=0.8, effect=0.0
    ),
    feature_dips=(FeatureDip(dip=0.02, null_mean=0.01),),
    is_structured=False,
)


def manifest(stage, **fields):
    parts = {
        "inputs": (),
        "outputs": (),
        "settings": {},
        "setting_sources": {},
        "result": None,
        "image": f"customer-segmentation/{stage}:1",
        "versions": {"python": "3.13.5"},
        "started": STARTED,
        "ended": STARTED + timedelta(seconds=2),
        "exit_reason": "done",
    }
    return Manifest(run="demo", stage=stage, **{**parts, **fields})


@pytest.fixture
def without_charts(monkeypatch):
    """Leave out the charts, which take most of the time of a page."""
    for name in [name for name in vars(page) if name.startswith(("draw_", "to_svg"))]:
        monkeypatch.setattr(page, name, lambda *_, **__: "")


@pytest.fixture(scope="session")
def data():
    return ReportData(
        evaluation=Evaluation(
            elbow=3,
            chosen_k=2,
            rule="forced",
            reason="k = 2 was asked for.",
            customers=10,
            silhouette_customers=10,
            stability_customers=8,
            resamples=100,
            candidates=(
                candidate(2, sse=900.0, silhouette=0.61, n_resamples=100, structure=STRUCTURE, classification="reproducible"),
                candidate(3, sse=500.0, silhouette=0.52),
                candidate(4, sse=400.0, silhouette=0.13, failed_checks=("the silhouette is 0.130, less than 0.25",)),
            ),
            lab_k=4,
            new_customers=(
                LabelledCustomer(customer="C1", label=0, outside_training_range=()),
                LabelledCustomer(customer="C2", label=3, outside_training_range=("BALANCE",)),
            ),
        ),
        segmentation=Segmentation(
            run="demo",
            k=2,
            published=True,
            held_back=(),
            warnings=(),
            rows=11,
            unassigned={"no value for BALANCE": 1},
            segments=(
                segment(1, "low balance", customers=7, previous_customers=5),
                segment(4, "high balance", customers=3, previous_customers=None),
            ),
            silhouette=0.61,
            comparison=Comparison(
                run="last week", common_customers=9, same_segment=6, ari=0.7, psi={"BALANCE": 0.3}, vanished={2: "old money"}
            ),
            description=Description(customers=10, is_sample=False, left_out={"COMMENT": "4,321 different texts"}),
            value=(ColumnValue(column="BALANCE", total=60840.0, shares={1: 0.014, 4: 0.986}),),
            across_k=(
                AcrossK(
                    k=3,
                    customers=10,
                    flows=(flow(0, 1, 4), flow(1, 1, 3), flow(2, 4, 3)),
                    segments=(
                        SegmentAcrossK(segment_id=1, best_cluster=0, best_jaccard=0.571, slsa=0.378),
                        SegmentAcrossK(segment_id=4, best_cluster=2, best_jaccard=1.0, slsa=1.0),
                    ),
                ),
            ),
        ),
        profile=[
            profile_row(1, "BALANCE", median=100.0),
            profile_row(4, "BALANCE", median=12345.0),
        ],
        migration=[
            MigrationRow(1, "low balance", 1, "low balance", 5),
            MigrationRow(2, "old money", 4, "high balance", 3),
            MigrationRow(None, None, 1, "low balance", 2),
        ],
        points=[SamplePoint(-1.0, 0.0, 1, 0.7), SamplePoint(-1.2, 0.1, 1, 0.6), SamplePoint(30.0, 0.5, 4, -0.1)],
        description=[
            numeric_row(1, "BALANCE", difference=-1.7, rank=1, is_feature=True),
            text_row(1, "REGION", "north", difference=0.9, rank=2),
            numeric_row(1, "TENURE", difference=0.4, rank=3),
            numeric_row(4, "BALANCE", difference=1.7, rank=1, is_feature=True),
            text_row(4, "REGION", "north", difference=-0.9, rank=2),
            numeric_row(4, "TENURE", difference=-0.4, rank=3),
        ],
        rules=Rules(
            accuracy=0.95,
            leaves=2,
            customers_fitted=6,
            customers_evaluated=4,
            segments=(rule(1, "BALANCE at most 1,900"), rule(4, "BALANCE above 1,900")),
        ),
        history=[run("two weeks ago", 14, 6), run("last week", 7, 5), run("demo", 0, 7)],
        manifests={
            "extract": manifest(
                "extract",
                inputs=(FileRecord(name="data/file.csv", sha256="ab" * 32, bytes=1234567),),
                settings={"feature_columns": ["BALANCE"], "data_file": "data/file.csv"},
                setting_sources={"feature_columns": "form", "data_file": "default"},
                result={"rows_read": 13, "duplicates_dropped": 2, "customers": 11, "missing": {"BALANCE": 1}},
            ),
            "train": manifest(
                "train", inputs=(FileRecord(name="extract/customers.pkl", sha256="cd" * 32, bytes=5, stage="extract"),)
            ),
            "segment": manifest("segment"),
        },
    )


def candidate(k, *, sse, silhouette, **more):
    return Candidate(
        k=k,
        sse=sse,
        silhouette=silhouette,
        davies_bouldin=0.9,
        calinski_harabasz=12345.0,
        smallest_share=0.3 / k,
        jaccard=(0.95,) * (k - 1) + (0.72,),
        ari=0.9,
        **{"jaccard_se": (0.01,) * k, "ari_se": 0.01, "n_resamples": 20, **more},
    )


def flow(cluster, segment_id, customers):
    return ClusterFlow(cluster=cluster, segment_id=segment_id, customers=customers)


def rule(segment_id, text):
    one = Rule(text=text, conditions=(), share_of_segment=0.9, precision=0.96)
    return SegmentRules(segment_id=segment_id, precision=0.96, recall=0.9, rules=(one,))


def run(name, days_ago, customers):
    segment = SegmentSummary(segment_id=1, name="low balance", customers=customers, jaccard=0.8)
    return RunSummary(
        run=name,
        started=STARTED - timedelta(days=days_ago),
        status="published",
        k=2,
        customers=11,
        unassigned=1,
        silhouette=0.6,
        verdict="reproducible",
        max_psi=None,
        segments=(segment,),
    )


def profile_row(segment_id, feature, median=1.0):
    return ProfileRow(segment_id, "a name", 7, 0.7, feature, median, median, 100.0, 0.0, 1)


def numeric_row(segment_id, column, *, difference, rank, is_feature=False, median=100.0, missing_share=0.0):
    quartiles = (median, 80.0, 150.0) if median is not None else (None, None, None)
    return DescriptionRow(segment_id, column, None, is_feature, 7, missing_share, *quartiles, None, difference, rank)


def text_row(segment_id, column, level, *, difference, rank):
    return DescriptionRow(segment_id, column, level, False, 7, 0.0, None, None, None, 0.833, difference, rank)


def segment(segment_id, name, *, customers, previous_customers):
    return Segment(
        segment_id=segment_id,
        name=name,
        customers=customers,
        share=customers / 11,
        centroid={"BALANCE": 1.0},
        distinguishing_features=(f"{name.split()[0]} BALANCE (index 40)",),
        jaccard=0.9,
        jaccard_se=0.02,
        is_new=previous_customers is None,
        previous_customers=previous_customers,
    )
