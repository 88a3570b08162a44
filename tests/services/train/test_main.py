"""The stage train on a temporary volume."""

import logging

import numpy as np
import pytest

from services.contract import artifacts
from services.contract.settings import TrainSettings
from services.pipeline import PIPELINE
from services.train import main as train
from stagekit.volume.workspace import Workspace
from tests.stagekit.manifests import commit


@pytest.fixture
def work(tmp_path):
    """Provide a run with the features of three groups of customers."""
    rng = np.random.default_rng(0)
    with Workspace(PIPELINE, "transform", tmp_path, "demo") as transform:
        transform.save(
            artifacts.FEATURES, {"scaled": np.concatenate([rng.normal(centre, 0.3, (60, 2)) for centre in (0, 3, 7)])}
        )
        commit(transform)
    with Workspace(PIPELINE, "train", tmp_path, "demo") as work:
        yield work


@pytest.mark.parametrize(
    ("requested", "decision"),
    [
        ("auto", "exact: 180 customers are at most 100,000"),
        ("exact", "exact: requested"),
        ("sample", "sample: requested"),
    ],
)
def test_the_strategy_is_logged_and_recorded_and_the_result_has_the_keys_of_the_lab(work, requested, decision, caplog):
    with caplog.at_level(logging.INFO):
        result = train.main(TrainSettings(run="demo", k_values=(2, 3), n_init=2, strategy=requested), work)
    assert work.decisions == {"strategy": decision}
    assert f"fitting 180 customers; strategy {decision}" in caplog.messages
    assert list(result) == ["k_values", "sse"]
    assert result["k_values"] == [2, 3]
    assert {record.name for record in work.outputs} == {"kmeans_custom.sav", "sweep.pkl", "metrics.json"}


def test_the_log_has_a_line_for_every_k_with_the_estimated_time_left(work, caplog, monkeypatch):
    monkeypatch.setattr(train, "SHOW_ETA_AFTER_S", 0.0)
    with caplog.at_level(logging.INFO):
        train.main(TrainSettings(run="demo", k_values=(2, 3), n_init=2), work)
    first, second = (message for message in caplog.messages if message.startswith("k="))
    assert first.startswith("k=2 SSE=")
    assert first.endswith("s left")
    assert second.startswith("k=3 SSE=")
    assert "left" not in second
