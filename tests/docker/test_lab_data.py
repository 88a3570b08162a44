"""The lab's figures out of the images in Airflow; as processes in `tests/services/test_pipeline.py`."""

import re
import shutil
from pathlib import Path

import pytest

from tests.docker.stack import Stack

pytestmark = pytest.mark.needs_docker


@pytest.fixture
def sse(lab_data: Path) -> object:
    figures = re.findall(r"^\| \d+ \| ([\d.]+) \|$", (lab_data.parent / "README.md").read_text(), re.MULTILINE)
    assert len(figures) == 9
    return pytest.approx([float(figure) for figure in figures], rel=1e-9)


def test_airflow_finds_the_figures_of_the_lab(stack: Stack, lab_data: Path, sse: object) -> None:
    shutil.copytree(lab_data, stack.volume / "data/lab", dirs_exist_ok=True)
    run = stack.run({"data_file": "data/lab/file.csv", "test_file": "data/lab/test.csv"})
    assert run["state"] == "success"
    assert stack.result(run, "train_kmeans_customer_model")["sse"] == sse
    assert stack.result(run, "evaluate_customer_model") == 6
