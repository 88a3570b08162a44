import re
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from services.contract.artifacts import SEGMENTATION
from services.contract.results import RunSummary, SegmentSummary
from services.contract.segment_registry import SegmentRegistry, SegmentRunEntry
from services.pipeline import PIPELINE
from stagekit.airflow.report_pages import ReportPages
from stagekit.volume.artifact import Artifact
from stagekit.volume.formats import TEXT
from stagekit.volume.history import HistoryEntry, record_run
from stagekit.volume.manifest import FileRecord, Manifest
from stagekit.volume.runs import run_folder
from stagekit.volume.workspace import Workspace
from tests.plugins.conftest import write_report
from tests.stagekit.example.services.pipeline import PIPELINE as EXAMPLE

DAG = "customer_segmentation_lab1"
RUN = "manual__2026-01-05T09:00:00+00:00"
ACTIVE = "/segments/active"
RUNS = "/segments/runs"


def page_of(run: str, dag: str = DAG) -> str:
    return f"/segments/dags/{dag}/runs/{quote(run, safe='')}"


def activate(volume, run):
    (volume / "model").mkdir()
    registry = SegmentRegistry(active_run=run, runs=(SegmentRunEntry(run=run),))
    (volume / "model" / "segments.json").write_bytes(registry.to_checksummed_json())


# --- access


def test_a_user_who_may_read_the_run_sees_its_report(viewer, volume):
    write_report(volume, RUN, "<h1>Five segments, côte à côte</h1>")
    answer = viewer.get(page_of(RUN))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text == "<h1>Five segments, côte à côte</h1>"


def test_a_client_sees_the_report_with_its_token(browser, token, volume):
    write_report(volume, RUN, "<h1>Five segments</h1>")
    answer = browser.get(page_of(RUN), headers={"Authorization": f"Bearer {token('VIEWER')}"})
    assert answer.text == "<h1>Five segments</h1>"


@pytest.mark.parametrize("page", [page_of(RUN), page_of("no such run"), page_of(RUN, "no_such_dag"), ACTIVE, RUNS])
def test_an_anonymous_user_sees_nothing(browser, volume, page):
    write_report(volume, RUN, "<h1>Five segments</h1>")
    activate(volume, RUN)
    answer = browser.get(page)
    assert answer.status_code == 401
    assert "Please sign in" in answer.text
    assert "segments</h1>" not in answer.text


@pytest.mark.parametrize("page", [page_of(RUN), page_of("no such run"), page_of(RUN, "no_such_dag"), ACTIVE, RUNS])
def test_a_user_without_a_role_sees_nothing(browser, token, volume, page):
    write_report(volume, RUN, "<h1>Five segments</h1>")
    activate(volume, RUN)
    browser.cookies.set("_token", token(None))
    answer = browser.get(page)
    assert answer.status_code == 403
    assert "segments</h1>" not in answer.text


def test_a_forged_token_opens_nothing(browser, volume):
    assert browser.get(page_of(RUN), headers={"Authorization": "Bearer e30.e30.e30"}).status_code == 403


def test_the_right_to_read_another_dag_does_not_suffice(viewer, volume, monkeypatch):
    write_report(volume, RUN, "<h1>Five segments</h1>")
    activate(volume, RUN)
    asked = []

    def only_another(self, *, method, user, access_entity=None, details=None):
        asked.append((method, access_entity.name, details.id))
        return details.id == "another"

    monkeypatch.setattr(
        "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager.is_authorized_dag", only_another
    )
    assert viewer.get(page_of(RUN)).status_code == 403
    assert viewer.get(ACTIVE).status_code == 403
    assert viewer.get(RUNS).status_code == 403
    assert viewer.get(page_of(RUN, "another")).status_code == 404
    assert asked == [("GET", "RUN", DAG)] * 3 + [("GET", "RUN", "another")]


def test_the_pages_have_no_public_documentation(viewer):
    for path in ("openapi.json", "docs", "redoc"):
        assert viewer.get(f"/segments/{path}").status_code == 404


# --- content


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_that_has_not_ended_is_reported_and_the_page_refreshes(viewer, volume, airflow_run, state):
    airflow_run(RUN, state)
    answer = viewer.get(page_of(RUN))
    assert answer.status_code == 404
    assert "No report yet" in answer.text
    assert f"Run {RUN} is {state}." in answer.text
    assert answer.headers["refresh"] == "10"


def test_a_failed_run_is_reported_with_task_and_reason_and_the_page_does_not_refresh(viewer, volume, airflow_run):
    airflow_run(
        RUN, "failed", failed_task="extract_customer_data", reason="failed (65, invalid data): file.csv row 17: <b> & co"
    )
    answer = viewer.get(page_of(RUN))
    assert answer.status_code == 404
    assert "The run failed" in answer.text
    assert "Task extract_customer_data: failed (65, invalid data): file.csv row 17: &lt;b&gt; &amp; co" in answer.text
    assert "refresh" not in answer.headers


def test_a_failed_task_without_a_reason_refers_to_its_log(viewer, volume, airflow_run):
    airflow_run(RUN, "failed", failed_task="train_kmeans_customer_model")
    assert "Task train_kmeans_customer_model: the log of the task has the reason" in viewer.get(page_of(RUN)).text


def test_a_run_that_was_marked_as_failed_blames_no_task(viewer, volume, airflow_run):
    airflow_run(RUN, "failed")
    assert "None of its tasks failed" in viewer.get(page_of(RUN)).text


def test_a_run_whose_folder_was_removed_is_reported_and_the_page_does_not_refresh(viewer, volume, airflow_run):
    airflow_run(RUN, "success")
    answer = viewer.get(page_of(RUN))
    assert answer.status_code == 404
    assert f"its folder runs/{run_folder(RUN)} is no longer on the volume" in answer.text
    assert "refresh" not in answer.headers


def test_a_run_whose_report_alone_was_removed_is_reported(viewer, volume, airflow_run):
    airflow_run(RUN, "success")
    (write_report(volume, RUN, "<h1>Five segments</h1>") / "report.html").unlink()
    answer = viewer.get(page_of(RUN))
    assert f"the folder runs/{run_folder(RUN)} on the volume has no report" in answer.text
    assert "refresh" not in answer.headers


def test_a_run_that_airflow_does_not_know_is_reported(viewer, volume):
    answer = viewer.get(page_of("no such run"))
    assert answer.status_code == 404
    assert "Airflow knows no run no such run" in answer.text
    assert "refresh" not in answer.headers


def test_text_from_the_address_is_escaped(viewer, volume):
    for answer in (viewer.get(page_of("<script>alert(1)</script>")), viewer.get(page_of(RUN, "<b>"))):
        assert "<script" not in answer.text
        assert "<b>" not in answer.text
    assert "&lt;script&gt;" in viewer.get(page_of("<script>")).text


def test_a_report_without_a_manifest_is_not_shown(viewer, volume, airflow_run):
    airflow_run(RUN, "running")
    (write_report(volume, RUN, "<h1>Half</h1>") / "manifest.json").unlink()
    assert "No report yet" in viewer.get(page_of(RUN)).text


def test_the_runs_of_other_dags_have_none(viewer, volume):
    write_report(volume, RUN, "<h1>Five segments</h1>")
    answer = viewer.get(page_of(RUN, "another"))
    assert answer.status_code == 404
    assert f"Only the runs of {DAG} have a report" in answer.text


def test_a_report_that_is_not_the_one_in_its_manifest_is_not_shown(viewer, volume):
    (write_report(volume, RUN, "<h1>Five segments</h1>") / "report.html").write_text("<h1>Forged</h1>")
    answer = viewer.get(page_of(RUN))
    assert answer.status_code == 500
    assert "Forged" not in answer.text
    assert "it was changed or damaged" in answer.text


def test_a_report_of_segments_that_were_made_again_since_is_not_shown(viewer, volume):
    read = FileRecord(name="segment/segmentation.json", sha256="0" * 64, bytes=1, stage="segment")
    folder = write_report(volume, RUN, "<h1>Five segments</h1>", (read,))
    assert viewer.get(page_of(RUN)).status_code == 200  # also when the other folders of the run were removed
    with Workspace(PIPELINE, "segment", volume, RUN) as work:
        work.save(SEGMENTATION, {})
        report = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        work.commit(
            report.model_copy(update={"stage": "segment", "inputs": (), "outputs": tuple(work.outputs), "sha256": None})
        )
    answer = viewer.get(page_of(RUN))
    assert answer.status_code == 500
    assert "segment was run again after report had read its segmentation.json: run report and" in answer.text


def test_the_report_of_one_run_is_not_shown_for_another(viewer, volume):
    folder = write_report(volume, RUN, "<h1>Five segments</h1>").parent
    folder.rename(folder.with_name("another"))
    answer = viewer.get(page_of("another"))
    assert answer.status_code == 500
    assert "Five segments" not in answer.text


@pytest.mark.parametrize(
    "run",
    ["../outside", "..", ".", "", "/", "outside", "x/../../outside", "..\\outside", "outside\0", "%2e%2e/outside", "é" * 300],
)
def test_no_run_id_leads_out_of_the_folder_of_runs(viewer, volume, run):
    # A valid report, but in another folder.
    write_report(volume, run or "empty", "<h1>Secret</h1>").parent.rename(volume / "outside")
    for address in (page_of(run), f"/segments/dags/{DAG}/runs/{quote(run)}"):
        answer = viewer.get(address)
        assert answer.status_code == 404
        assert "Secret" not in answer.text


def test_a_run_id_may_hold_a_slash(viewer, volume):
    write_report(volume, "monday/again", "<h1>Five segments</h1>")
    assert viewer.get(page_of("monday/again")).status_code == 200


def test_a_volume_that_is_not_mounted_is_named(viewer, volume, monkeypatch):
    monkeypatch.setenv("PIPELINE_VOLUME", "/no/such/volume")
    for page in (page_of(RUN), ACTIVE, RUNS):
        answer = viewer.get(page)
        assert answer.status_code == 500
        assert "there is no volume at /no/such/volume" in answer.text


# --- the active report and the list of runs


def test_the_report_of_the_active_run_is_shown(viewer, volume):
    write_report(volume, RUN, "<h1>Five segments</h1>")
    activate(volume, RUN)
    assert viewer.get(ACTIVE).text == "<h1>Five segments</h1>"


def test_before_the_first_publication_the_page_explains_it(viewer, volume):
    answer = viewer.get(ACTIVE)
    assert answer.status_code == 404
    assert "No run has been published yet" in answer.text


def test_an_active_run_without_a_report_yet_is_named_and_the_page_refreshes(viewer, volume, airflow_run):
    airflow_run(RUN, "running")
    activate(volume, RUN)
    answer = viewer.get(ACTIVE)
    assert answer.status_code == 404
    assert f"Run {RUN} is active, but it has no report. Run {RUN} is running." in answer.text
    assert answer.headers["refresh"] == "10"


def test_an_active_run_whose_folder_was_removed_is_not_waited_for(viewer, volume, airflow_run):
    airflow_run(RUN, "success")
    activate(volume, RUN)
    answer = viewer.get(ACTIVE)
    assert "is active, but it has no report." in answer.text
    assert "is no longer on the volume" in answer.text
    assert "refresh" not in answer.headers


def record(volume, run, day, **fields):
    segments = (SegmentSummary(segment_id=1, name="low balance", customers=5000, jaccard=0.9),)
    figures = {"status": "published", "k": 1, "customers": 5006, "unassigned": 6, "silhouette": 0.5, "verdict": "natural"}
    started = datetime(2026, 11, day, 9, tzinfo=UTC)
    record_run(volume, RunSummary(run=run, started=started, max_psi=None, segments=segments, **{**figures, **fields}))


def test_all_runs_are_listed_the_latest_first_with_the_active_one_marked_and_links_to_existing_reports(viewer, volume):
    write_report(volume, "first/1", "<h1>Five segments</h1>")
    record(volume, "first/1", 2)
    record(volume, "second", 9, status="not published", failed_checks=("the silhouette is 0.2, less than 0.25",))
    activate(volume, "first/1")
    answer = viewer.get(RUNS)
    rows = [re.sub("<.*?>", "|", row) for row in re.findall("<tr>(.*?)</tr>", answer.text)[1:]]
    assert answer.status_code == 200
    assert rows[0].startswith(
        "|second||2026-11-09 09:00||not published; the silhouette is 0.2, less than 0.25||5,006||1: 5,000; none: 6||"
    )
    assert rows[1].startswith("||first/1| |active|||2026-11-02 09:00||published||")
    (address,) = set(re.findall('href="(.*?)"', answer.text))
    assert viewer.get(f"/segments/{address}").text == "<h1>Five segments</h1>"


def test_names_in_the_list_of_runs_are_escaped_and_its_links_keep_the_session_without_scripts(viewer, volume):
    record(volume, "<script>alert(1)</script>", 2, failed_checks=("<b>",))
    answer = viewer.get(RUNS)
    assert "<script" not in answer.text
    assert "<b>" not in answer.text
    assert policy(answer)["sandbox"] == "allow-same-origin"
    assert policy(answer)["default-src"] == "'none'"


def test_a_damaged_history_lists_its_valid_entries(viewer, volume):
    record(volume, "first", 2)
    path = volume / "history" / "runs.json"
    path.write_text(path.read_text().replace("[", '[{"run": "<b>"},', 1))
    answer = viewer.get(RUNS)
    assert answer.status_code == 200
    assert answer.text.count("<tr>") == 2


def test_a_volume_of_an_earlier_version_links_the_active_run(viewer, volume):
    write_report(volume, RUN, "<h1>Five segments</h1>")
    activate(volume, RUN)
    text = viewer.get(RUNS).text
    assert f">{RUN}</a>" in text
    assert "No run has been recorded yet." in text


def test_another_pipeline_without_key_figures_lists_its_runs(volume):
    record_run(volume, HistoryEntry(run="tiny", started=datetime(2026, 11, 2, tzinfo=UTC)))
    text = ReportPages("example_dag", EXAMPLE, Artifact("page", "page.html", TEXT)).list_runs().body.decode()
    assert '<th scope="row">tiny</th><td>2026-11-02 00:00</td></tr>' in text


# --- what a page may do


def policy(answer):
    directives = (directive.strip().partition(" ") for directive in answer.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in directives}


def test_a_report_can_only_display_itself(viewer, volume):
    write_report(volume, RUN, "<script>alert(1)</script>")
    assert policy(viewer.get(page_of(RUN))) == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
        "sandbox": "",
    }


def test_the_page_that_refreshes_may_not_run_scripts_either(viewer, volume, airflow_run):
    airflow_run(RUN, "running")
    directives = policy(viewer.get(page_of(RUN)))
    assert directives["sandbox"] == "allow-scripts allow-same-origin", "without it, browsers do not refresh"
    assert directives["default-src"] == "'none'"
    assert "script-src" not in directives


def test_every_answer_has_the_same_headers(viewer, token, volume):
    write_report(volume, RUN, "<h1>Five segments</h1>")
    (write_report(volume, "damaged", "x") / "report.html").write_text("y")
    answers = [
        viewer.get(page_of(RUN)),
        viewer.get(page_of("none yet")),
        viewer.get(page_of("damaged")),
        viewer.get("/segments/nothing/here"),
        viewer.post(page_of(RUN)),
        viewer.get(page_of(RUN), headers={"Authorization": f"Bearer {token(None)}"}),
    ]
    viewer.cookies.clear()
    answers.append(viewer.get(page_of(RUN)))
    assert [answer.status_code for answer in answers] == [200, 404, 500, 404, 405, 403, 401]
    for answer in answers:
        assert policy(answer)["default-src"] == "'none'"
        assert policy(answer)["frame-ancestors"] == "'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
