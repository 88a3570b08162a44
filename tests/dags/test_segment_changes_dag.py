from types import SimpleNamespace

import jinja2
import pytest

from dags.assets import ACTIVE_SEGMENTS
from services.pipeline import PIPELINE


@pytest.fixture
def dag(dag_bag):
    return dag_bag.dags["customer_segment_changes"]


def test_it_waits_for_new_segments(dag):
    assert list(dag.timetable.asset_condition.objects) == [ACTIVE_SEGMENTS]


def test_it_has_a_help_text_a_display_name_and_an_owner(dag):
    [task] = dag.tasks
    assert "`crm.csv`: every customer" in dag.doc_md
    assert task.doc_md
    assert task.task_display_name != task.task_id
    assert task.owner == "custom_student"


def test_its_task_is_not_a_stage_of_a_run(dag):
    assert {task.stage for task in dag.tasks} <= {stage.name for stage in PIPELINE.others}


@pytest.mark.parametrize(
    ("named", "published", "expected"),
    [(None, ["one"], "one"), (None, ["one", "two"], "two"), ("zero", ["one"], "zero"), ("zero", [], "zero"), (None, [], "")],
)
def test_it_works_on_the_run_of_the_form_or_else_on_the_last_published_run(dag, named, published, expected):
    task = dag.get_task("list_changes")
    events = {ACTIVE_SEGMENTS: [SimpleNamespace(extra={"run": run}) for run in published]} if published else {}
    context = {"params": {"run": named}, "triggering_asset_events": events}
    assert task.render_template(task.target_run, context, jinja2.Environment(undefined=jinja2.StrictUndefined)) == expected
