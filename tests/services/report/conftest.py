"""A small run to report on: two segments among ten customers, compared with an earlier run."""

from datetime import UTC, datetime, timedelta

import pytest

from services.contract.results import (
    Candidate,
    Comparison,
    Evaluation,
    FeatureDip,
    LabelledCustomer,
    NullComparison,
    Segment,
    Segmentation,
    Structure,
)
from services.report.report_data import Findings, Move, Point, Trait
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


def manifest(stage, **known):
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
    return Manifest(run="demo", stage=stage, **{**parts, **known})


@pytest.fixture(scope="session")
def findings():
    return Findings(
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
        ),
        profile=[
            Trait(1, "BALANCE", median=100.0, mean=120.0, index=40.0, sets_apart=1),
            Trait(4, "BALANCE", median=12345.0, mean=20000.0, index=312.4, sets_apart=1),
        ],
        moves=[
            Move(1, "low balance", 1, "low balance", 5),
            Move(2, "old money", 4, "high balance", 3),
            Move(None, "", 1, "low balance", 2),
        ],
        points=[Point(-1.0, 0.0, 1, 0.7), Point(-1.2, 0.1, 1, 0.6), Point(30.0, 0.5, 4, -0.1)],
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


def segment(segment_id, name, *, customers, previous_customers):
    return Segment(
        segment_id=segment_id,
        name=name,
        customers=customers,
        share=customers / 11,
        centroid={"BALANCE": 1.0},
        sets_apart=(f"{name.split()[0]} BALANCE (index 40)",),
        jaccard=0.9,
        jaccard_se=0.02,
        is_new=previous_customers is None,
        previous_customers=previous_customers,
    )
