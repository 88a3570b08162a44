"""The stage, behind the three before it, on a temporary volume."""

import json
import logging
import shutil

import numpy as np
import pandas as pd
import pytest

from services.contract import artifacts
from services.contract.results import Evaluation
from services.contract.settings import EvaluateSettings, TrainSettings, TransformSettings
from services.evaluate import main as evaluate
from services.evaluate import structure
from services.pipeline import PIPELINE
from services.train import main as train
from services.transform import main as transform
from stagekit.errors import DataError, MissingInputError
from stagekit.volume.workspace import Workspace
from tests.stagekit.manifests import commit

HEADER = "CUST_ID,BALANCE,PURCHASES,CREDIT_LIMIT\n"


def prepare(volume, customers, k_values) -> None:
    """Run the stages before this one, on the default features."""
    with Workspace(PIPELINE, "extract", volume, "demo") as work:
        work.save(artifacts.CUSTOMERS, customers)
        commit(work)
    with Workspace(PIPELINE, "transform", volume, "demo") as work:
        transform.main(TransformSettings(run="demo"), work)
        commit(work)
    with Workspace(PIPELINE, "train", volume, "demo") as work:
        train.main(TrainSettings(run="demo", k_values=k_values, n_init=2), work)
        commit(work)
    (volume / "data").mkdir()
    (volume / "data/test.csv").write_text(HEADER + "A,1000,500,2000\nB,1000,7000,250000\nC,,1,1\n")


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """All draws from the null model take most of the time; `test_structure.py` makes them."""
    monkeypatch.setattr(structure, "N_DRAWS", 9)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Three groups of customers, K-Means fitted for k = 2 to 6; only to be copied."""
    volume = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(0)
    centres = ([1000, 500, 2000], [6000, 500, 9000], [1000, 7000, 9000])
    rows = np.concatenate([rng.normal(centre, 200, (80, 3)) for centre in centres])
    prepare(volume, pd.DataFrame(rows, columns=["BALANCE", "PURCHASES", "CREDIT_LIMIT"]), (2, 3, 4, 5, 6))
    return volume


@pytest.fixture
def volume(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "volume")


def run(volume, n_resamples=2, **settings):
    with Workspace(PIPELINE, "evaluate", volume, "demo") as work:
        result = evaluate.main(EvaluateSettings(run="demo", n_resamples=n_resamples, **settings), work)
        commit(work)
    text = (volume / "runs/demo/evaluate/evaluation.json").read_text()
    json.loads(text, parse_constant=pytest.fail)  # plain JSON, without NaN
    return result, Evaluation.model_validate_json(text)


@pytest.fixture(scope="module")
def evaluated(prepared, tmp_path_factory):
    """The result and the file of a run with the defaults of the stage, except for the number of resamples."""
    return run(shutil.copytree(prepared, tmp_path_factory.mktemp("evaluated") / "volume"), n_resamples=20)


def test_the_result_is_the_label_of_the_first_new_customer_under_the_last_model(evaluated):
    result, evaluation = evaluated
    assert type(result) is int
    assert result == evaluation.new_customers[0].label
    assert evaluation.lab_k == 6


def test_the_file_lists_the_choice_and_the_candidates(evaluated):
    _, evaluation = evaluated
    assert (evaluation.elbow, evaluation.chosen_k, evaluation.rule) == (3, 3, "elbow")
    assert [candidate.k for candidate in evaluation.candidates] == [2, 3, 4, 5, 6]
    assert (evaluation.customers, evaluation.silhouette_customers) == (240, 240)
    assert [customer.customer for customer in evaluation.new_customers] == ["A", "B", "C"]


def test_the_same_run_gives_the_same_file(volume):
    assert run(volume) == run(volume)


def test_a_requested_k_is_chosen(volume):
    _, evaluation = run(volume, n_clusters=5)
    assert (evaluation.elbow, evaluation.chosen_k, evaluation.rule) == (3, 5, "forced")


def test_a_missing_elbow_is_logged_and_a_k_is_chosen_nevertheless(volume, monkeypatch, caplog):
    monkeypatch.setattr(evaluate, "find_elbow", lambda *_: None)
    with caplog.at_level(logging.INFO):
        _, evaluation = run(volume)
    assert "no elbow: the SSE curve over k=[2, 3, 4, 5, 6] has none" in caplog.messages
    assert (evaluation.elbow, evaluation.chosen_k, evaluation.rule) == (None, 3, "fallback")
    assert evaluation.reason in caplog.messages


def test_separate_groups_pass_as_natural_and_the_file_has_the_statistic_beside_its_null(evaluated):
    _, evaluation = evaluated
    chosen = evaluation.candidates[1]
    assert (chosen.k, chosen.passes, chosen.classification, chosen.n_resamples) == (3, True, "natural", 20)
    gap = chosen.structure.separation
    assert gap.observed > gap.null_mean + 3 * gap.null_sd
    assert {one.passes for one in evaluation.candidates if one.k != 3 and not one.failed_checks} == {None}


def test_an_elbow_that_fails_gives_way_to_the_k_with_the_largest_silhouette_and_the_reason_names_the_check(volume, monkeypatch):
    monkeypatch.setattr(evaluate, "find_elbow", lambda *_: 6)
    _, evaluation = run(volume, min_silhouette=0.6)
    assert (evaluation.elbow, evaluation.chosen_k, evaluation.rule) == (6, 3, "fallback")
    assert evaluation.candidates[4].passes is False
    assert "of the k that pass every check (Rousseeuw 1987)" in evaluation.reason
    assert "k = 6, fails: the silhouette is" in evaluation.reason


@pytest.mark.parametrize("family", ["normal", "lognormal"])
def test_data_without_cluster_structure_is_not_natural_and_passes_only_if_its_segments_are_stable(tmp_path, family):
    rng = np.random.default_rng(1)
    rows = rng.normal(5000, 1000, (1500, 3)) if family == "normal" else rng.lognormal(7, 0.8, (1500, 3))
    prepare(tmp_path, pd.DataFrame(rows, columns=["BALANCE", "PURCHASES", "CREDIT_LIMIT"]), (2, 3, 4, 5))
    _, evaluation = run(tmp_path, n_resamples=20)
    assessed = [one for one in evaluation.candidates if one.structure]
    assert assessed
    for candidate in assessed:
        assert candidate.classification in ("reproducible", "constructive")
        assert candidate.passes == (candidate.classification == "reproducible")


def test_the_elbow_and_every_odd_new_customer_are_logged(volume, caplog):
    with caplog.at_level(logging.INFO):
        run(volume)
    assert "elbow at k=3" in caplog.messages
    assert "B is outside the training range: CREDIT_LIMIT" in caplog.messages
    assert "C has no label: no value for BALANCE" in caplog.messages


@pytest.mark.parametrize("setting", [{}, {"test_file": "data/mine.csv"}])
def test_a_first_customer_without_a_label_leaves_the_result_empty_with_a_warning(volume, caplog, setting):
    for name in ("test.csv", "mine.csv"):
        (volume / "data" / name).write_text(HEADER + "A,1,,1\nB,1,2,3\nC,1,x,3\n")
    result, evaluation = run(volume, **setting)
    assert result is None
    assert [customer.label is None for customer in evaluation.new_customers] == [True, False, True]
    assert evaluation.new_customers_problem == ""
    assert "A has no label: no value for PURCHASES" in caplog.messages
    assert "row 4: PURCHASES is 'x', expected a number" in evaluation.new_customers[2].reason


def write_nothing(path):
    path.unlink()


def write_another_table(path):
    path.write_text("CUST_ID,AGE\nA,40\n")


def write_a_link_to_the_outside(path):
    path.unlink()
    path.symlink_to("/etc/passwd")


def write_a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("write", "problem", "kind"),
    [
        (write_nothing, "there is no file data/test.csv on the volume", MissingInputError),
        (write_another_table, "test.csv row 1: column 'BALANCE' is missing", DataError),
        (write_a_link_to_the_outside, "data/test.csv is a link that leads out of the volume", DataError),
        (write_a_folder, "data/test.csv is not a file", DataError),
    ],
)
def test_without_a_usable_file_there_are_no_new_customers_unless_the_user_named_it(volume, caplog, write, problem, kind):
    write(volume / "data/test.csv")
    result, evaluation = run(volume)
    assert (result, evaluation.new_customers) == (None, ())
    assert evaluation.new_customers_problem.startswith(problem)
    assert evaluation.chosen_k == 3
    assert f"no new customers are labelled: {evaluation.new_customers_problem}" in caplog.messages
    if not (volume / "data/test.csv").is_symlink():  # a link that was moved would be another one
        (volume / "data").rename(volume / "mine")
        with pytest.raises(kind, match=problem.replace("data/", "mine/")):
            run(volume, test_file="mine/test.csv")
