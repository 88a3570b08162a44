import itertools
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from services.pipeline import PIPELINE
from stagekit.airflow.stage_operator import StageOperator

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def dag(dag_bag):
    return dag_bag.dags["customer_segmentation_lab1"]


def test_the_folder_holds_three_dags_and_no_import_error(dag_bag):
    assert dag_bag.import_errors == {}
    assert set(dag_bag.dags) == {"customer_segmentation_lab1", "customer_segment_changes", "housekeeping"}


def test_only_files_that_hold_a_dag_are_parsed(dag_bag):
    files = {"customer_segmentation_dag.py", "segment_changes_dag.py", "housekeeping_dag.py"}
    assert {stat.file for stat in dag_bag.dagbag_stats} == files


def test_the_dag_is_scheduled_as_in_the_lab(dag):
    assert dag.timetable.expression == "0 9 * * 1"
    assert dag.start_date.replace(tzinfo=None) == datetime(2025, 1, 1)
    assert dag.catchup is False
    assert dag.max_active_runs == 1


def test_every_task_has_the_owner_and_the_retries_of_the_lab(dag):
    assert {(task.owner, task.retries, task.retry_delay) for task in dag.tasks} == {("custom_student", 1, timedelta(minutes=2))}


def test_the_tasks_of_the_lab_come_first_and_in_its_order(dag):
    chain = [task.task_id for task in dag.topological_sort()]
    assert chain[:4] == [
        "extract_customer_data",
        "transform_for_clustering",
        "train_kmeans_customer_model",
        "evaluate_customer_model",
    ]
    for task, following in itertools.pairwise(chain):
        assert dag.get_task(task).downstream_task_ids == {following}


def test_every_stage_is_a_task_in_the_order_of_the_contract(dag):
    assert [task.stage for task in dag.topological_sort() if isinstance(task, StageOperator)] == list(PIPELINE.stage_names)


def test_the_makefile_names_the_same_pipeline():
    assert f"\nPIPELINE := {PIPELINE.name}\n" in (REPOSITORY / "Makefile").read_text()


def test_the_serialised_dag_has_the_name_of_the_pipeline_instead_of_its_memory_address(dag):
    serialised = DagSerialization.to_dict(dag)["dag"]["default_args"]
    assert f"'pipeline': '{PIPELINE.name}'" in str(serialised)


def test_only_segment_can_publish(dag):
    assert [task.stage for task in dag.tasks if task.declaration.publishes] == ["segment"]


def test_people_find_help_on_the_dag_and_on_every_task(dag):
    assert "To start a run" in dag.doc_md
    assert dag.description
    assert dag.tags
    assert all(task.doc_md and task.task_display_name != task.task_id for task in dag.tasks)


def test_parsing_reads_no_settings_of_the_host_and_imports_no_data_library():
    parse = (
        "import sys, dags.customer_segmentation_dag;"
        "print(sorted({'numpy', 'pandas', 'scipy', 'sklearn', 'kneed', 'matplotlib'} & set(sys.modules)))"
    )
    wrong = {"PIPELINE_STAGE_CPUS": "nonsense", "AIRFLOW_VAR_CUSTOMER_SEGMENTATION": "nonsense"}
    parsed = subprocess.run(
        [sys.executable, "-c", parse], cwd=REPOSITORY, env=os.environ | wrong, capture_output=True, text=True
    )
    assert parsed.stdout == "[]\n", parsed.stderr
