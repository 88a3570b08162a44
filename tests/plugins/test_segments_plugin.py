import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from dags.assets import DAG_ID
from plugins.segments_plugin import VIEWS

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def dag(dag_bag):
    return dag_bag.dags[DAG_ID]


def test_airflow_loads_one_plugin_without_import_errors(airflow_app):
    from airflow import plugins_manager

    assert plugins_manager.get_import_errors() == {}
    ours = [plugin for plugin in plugins_manager.get_plugin_info() if "plugins_folder" in str(plugin["source"]).lower()]
    assert {plugin["name"] for plugin in ours} == {"customer_segmentation"}


def test_every_view_shows_a_page_of_the_plugin(viewer, volume, airflow_run):
    airflow_run("demo", "running")
    texts = {"Report": "No report yet", "Segments": "No run has been recorded yet"}
    for view in VIEWS:
        address = view["href"].replace("{DAG_ID}", DAG_ID).replace("{RUN_ID}", "demo")
        assert texts[view["name"]] in viewer.get(f"/{address}").text


def test_the_addresses_of_the_views_are_relative_to_airflow_s():
    assert not [view["href"] for view in VIEWS if view["href"].startswith(("/", "http"))]


def modules_after(statement: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter has imported after `statement`."""
    command = [sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


def test_loading_the_plugin_imports_neither_the_pages_nor_the_operator():
    heavy = {"airflow.api_fastapi", "stagekit.airflow.report_pages", "stagekit.airflow.stage_operator", "docker"}
    assert modules_after("import plugins.segments_plugin") & heavy == set()


def test_the_pages_import_no_data_library():
    libraries = {"numpy", "pandas", "scipy", "sklearn", "kneed", "matplotlib"}
    assert modules_after("import stagekit.airflow.report_pages, stagekit.airflow.task_links") & libraries == set()


def test_every_stage_links_to_the_report_and_to_its_replay_command(dag, airflow_app):
    served = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    task_instance = SimpleNamespace(key=SimpleNamespace(dag_id=DAG_ID, run_id="a+b/c", task_id="extract_customer_data"))
    run = f"dags/{DAG_ID}/runs/a%2Bb%2Fc"
    for task in served.tasks:
        links = {name: task.get_extra_links(task_instance, name) for name in task.extra_links}
        if task.task_type == "StageOperator":
            assert links == {
                "Report": f"{run}/plugin/report",
                "Replay command": f"{run}/tasks/extract_customer_data/rendered_templates",
            }
        else:
            assert links == {}


def test_the_report_link_leads_to_the_tab_of_the_plugin():
    [tab] = [view for view in VIEWS if view["destination"] == "dag_run"]
    assert tab["url_route"] == "report"
