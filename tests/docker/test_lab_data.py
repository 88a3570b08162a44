"""The lab's figures out of the images in Airflow; as processes in `tests/services/test_pipeline.py`."""

import re
import shutil
import time
from pathlib import Path

import pytest
import requests

from tests.docker.stack import Stack

pytestmark = pytest.mark.needs_docker

DAG = "customer_segmentation_lab1"


@pytest.fixture
def sse(lab_data: Path) -> object:
    figures = re.findall(r"^\| \d+ \| ([\d.]+) \|$", (lab_data.parent / "README.md").read_text(), re.MULTILINE)
    assert len(figures) == 9
    return pytest.approx([float(figure) for figure in figures], rel=1e-9)


def test_airflow_finds_the_figures_of_the_lab(stack: Stack, lab_data: Path, sse: object) -> None:
    shutil.copytree(lab_data, stack.volume / "data/lab", dirs_exist_ok=True)
    conf = {"data_file": "data/lab/file.csv", "test_file": "data/lab/test.csv"}
    answer = stack.client().post(
        f"{stack.address}/api/v2/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": conf}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    path = f"dags/{DAG}/dagRuns/{requests.utils.quote(answer.json()['dag_run_id'], safe='')}"
    begin = time.monotonic()
    while (state := stack.get(path)["state"]) not in {"success", "failed"} and time.monotonic() - begin < 300:
        time.sleep(0.5)
    assert state == "success"

    def result(task: str) -> object:
        return stack.get(f"{path}/taskInstances/{task}/xcomEntries/return_value?stringify=false")["value"]

    trained = result("train_kmeans_customer_model")
    assert isinstance(trained, dict)
    assert trained["sse"] == sse
    assert result("evaluate_customer_model") == 6
