"""The stage, behind the three before it, on a volume of its own."""

import json
import logging
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.errors import DataError, UsageError
from services.contract.manifest import Manifest
from services.contract.results import Evaluation
from services.contract.settings import EvaluateSettings, TrainSettings, TransformSettings
from services.evaluate import main as evaluate
from services.train import main as train
from services.transform import main as transform

HEADER = "CUST_ID,BALANCE,PURCHASES,CREDIT_LIMIT\n"


def commit(work: Workspace) -> None:
    now = datetime.now(UTC)
    empty = {"settings": {}, "setting_sources": {}, "result": None, "image": None, "versions": {}, "exit_reason": "done"}
    work.commit(
        Manifest(run=work.run, stage=work.stage, inputs=(), outputs=tuple(work.outputs), started=now, ended=now, **empty)
    )


@pytest.fixture
def volume(tmp_path):
    """Three groups of customers, K-Means fitted for k = 2 to 6."""
    rng = np.random.default_rng(0)
    centres = ([1000, 500, 2000], [6000, 500, 9000], [1000, 7000, 9000])
    rows = np.concatenate([rng.normal(centre, 200, (80, 3)) for centre in centres])
    customers = pd.DataFrame(rows, columns=["BALANCE", "PURCHASES", "CREDIT_LIMIT"])
    with Workspace(tmp_path, "demo", "extract", {}) as work:
        work.save(artifacts.CUSTOMERS, customers)
        commit(work)
    with Workspace(tmp_path, "demo", "transform", {}) as work:
        transform.main(TransformSettings(run="demo"), work)
        commit(work)
    with Workspace(tmp_path, "demo", "train", {}) as work:
        train.main(TrainSettings(run="demo", k_values=(2, 3, 4, 5, 6), n_init=2), work)
        commit(work)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/test.csv").write_text(HEADER + "A,1000,500,2000\nB,1000,7000,250000\nC,,1,1\n")
    return tmp_path


def run(volume, **settings):
    with Workspace(volume, "demo", "evaluate", {}) as work:
        result = evaluate.main(EvaluateSettings(run="demo", n_resamples=2, **settings), work)
        commit(work)
    return result, Evaluation.model_validate_json((volume / "runs/demo/evaluate/evaluation.json").read_text())


def test_the_result_is_the_label_of_the_first_new_customer_under_the_last_model(volume):
    result, evaluation = run(volume)
    assert type(result) is int
    assert result == evaluation.new_customers[0].label
    assert evaluation.lab_k == 6


def test_the_file_tells_what_was_chosen_and_from_what(volume):
    _, evaluation = run(volume)
    assert (evaluation.elbow, evaluation.chosen_k, evaluation.rule) == (3, 3, "elbow")
    assert [candidate.k for candidate in evaluation.candidates] == [2, 3, 4, 5, 6]
    assert (evaluation.customers, evaluation.silhouette_customers, evaluation.stability_customers) == (240, 240, 240)
    assert [customer.customer for customer in evaluation.new_customers] == ["A", "B", "C"]


def test_the_same_run_gives_the_same_file(volume):
    assert run(volume) == run(volume)


def test_a_forced_k_is_taken(volume):
    _, evaluation = run(volume, n_clusters=5)
    assert (evaluation.elbow, evaluation.chosen_k, evaluation.rule) == (3, 5, "forced")


def test_a_forced_k_that_was_not_fitted_is_refused(volume):
    with pytest.raises(UsageError, match="n_clusters is 9, and train has fitted 2 to 6"):
        run(volume, n_clusters=9)


def test_a_missing_elbow_is_said_plainly_and_something_is_chosen_all_the_same(volume, monkeypatch, caplog):
    monkeypatch.setattr(evaluate, "find_elbow", lambda *_: None)
    with caplog.at_level(logging.INFO):
        _, evaluation = run(volume)
    assert "no elbow: the SSE curve over k=[2, 3, 4, 5, 6] has none" in caplog.messages
    assert (evaluation.elbow, evaluation.chosen_k, evaluation.rule) == (None, 3, "fallback")
    assert evaluation.reason in caplog.messages


def test_the_elbow_and_every_odd_new_customer_are_logged(volume, caplog):
    with caplog.at_level(logging.INFO):
        run(volume)
    assert "elbow at k=3" in caplog.messages
    assert "B is outside the training range: CREDIT_LIMIT" in caplog.messages
    assert "C has no label: no value for BALANCE" in caplog.messages


def test_a_first_customer_who_cannot_be_labelled_ends_the_stage_with_the_reason(volume):
    (volume / "data/test.csv").write_text(HEADER + "A,1,,1\n")
    with pytest.raises(DataError, match=r"data/test\.csv: there is no label for the first customer, no value for PURCHASES"):
        run(volume)


def test_the_file_is_plain_json(volume):
    run(volume)
    text = (volume / "runs/demo/evaluate/evaluation.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["chosen_k"] == 3
