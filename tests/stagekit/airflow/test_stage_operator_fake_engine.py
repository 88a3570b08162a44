"""StageOperator on a fake engine: what it requests, and how it interprets the answers. Needs no Docker."""

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from stagekit.airflow.stage_operator import StageOperator, log_failure_reason
from tests.stagekit.airflow.fake_engine import End, Refusal, running_fake_engine
from tests.stagekit.airflow.probe_pipeline import FEATURES, PIPELINE
from tests.stagekit.airflow.tries import Try

DIGEST = "ab" * 32


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setenv("PIPELINE_HOST_VOLUME", "/data/bank")
    for name in ("PIPELINE_STAGE_MEMORY", "DOCKER_CERT_PATH", "AIRFLOW_VAR_PROBE_PIPELINE"):
        monkeypatch.delenv(name, raising=False)
    with running_fake_engine() as (engine, address):
        monkeypatch.setenv("DOCKER_HOST", address)
        yield engine


def log_of(*lines):
    return "".join(f"12:00:00 train: {line}\n" for line in lines)


def fails(task, *, again):
    """Run a task that fails and return the reason."""
    with pytest.raises(AirflowException) as failed:
        task.run()
    assert isinstance(failed.value, AirflowFailException) is not again
    assert task.xcom["reason"] == str(failed.value)
    return str(failed.value)


# --- result


def test_the_result_is_returned_the_digest_pushed_and_the_container_removed(engine):
    engine.stage = End(stdout='{"k_values": [2, 3]}\n', stderr=log_of("fitting", f"manifest sha256:{DIGEST}"))
    task = Try()
    assert task.run() == {"k_values": [2, 3]}
    assert task.xcom == {"manifest": DIGEST, "volume": "/data/bank"}
    assert engine.containers == {}


def test_a_stage_without_a_manifest_pushes_no_digest(engine):
    task = Try()
    assert task.run() is None
    assert task.xcom == {}


def test_output_that_is_not_json_is_an_internal_error(engine):
    engine.stage = End(stdout="hello\n")
    assert fails(Try(), again=True) == (
        "failed (70, internal error): train wrote 'hello\\n' to stdout: expected one line of JSON"
    )


@pytest.mark.parametrize(
    ("code", "meaning", "again"),
    [
        (64, "invalid settings", False),
        (65, "invalid data", False),
        (66, "missing input", False),
        (70, "internal error", True),
        (75, "transient error", True),
        (78, "volume or image misconfigured", False),
    ],
)
def test_the_task_fails_with_the_stage_s_reason_and_the_exit_code_decides_about_a_retry(engine, code, meaning, again):
    reason = f"failed ({code}, {meaning}): file.csv row 17: BALANCE is 'abc'"
    engine.stage = End(code, stderr=log_of("reading", reason))
    assert fails(Try(), again=again) == reason
    assert engine.containers == {}


@pytest.mark.parametrize(
    "end", [End(1, out_of_memory=True), End(137, stderr=log_of("failed (137, out of memory): the data does not fit"))]
)
def test_out_of_memory_names_the_limit_whether_kernel_or_stage_reports_it(engine, end):
    engine.stage = end
    assert "train does not fit into 4g of memory: raise PIPELINE_STAGE_MEMORY" in fails(Try(), again=False)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (End(137), "failed (75, transient error): train was killed by signal 9 (Killed)"),
        (End(255), "failed (75, transient error): train was lost: the Docker engine or its host stopped"),
        (End(200), "failed (70, internal error): train ended with exit code 200: "),
        (End(128, stderr="odd\n"), "failed (70, internal error): train ended with exit code 128: odd"),
        (End(1), "failed (70, internal error): train ended with exit code 1: "),
        # Its last line is about something else than how it ended.
        (
            End(1, stderr=log_of("failed (65, invalid data): no")),
            "failed (70, internal error): train ended with exit code 1",
        ),
    ],
)
def test_an_exit_without_a_reason_is_retried(engine, end, reason):
    engine.stage = end
    assert fails(Try(), again=True).startswith(reason)


# --- what it requests


def test_the_stage_sees_the_volume_read_only_except_its_own_folder(engine):
    Try().run()
    folders, stage = engine.created
    (own,) = folders["Cmd"]
    assert own.startswith("/shared/runs/manual__")
    assert own.endswith("/train")
    assert [(one["Target"], one["Source"], one["ReadOnly"]) for one in stage["HostConfig"]["Mounts"]] == [
        ("/shared", "/data/bank", True),
        (own, own.replace("/shared", "/data/bank"), False),
    ]


def test_a_stage_that_publishes_can_write_to_history_and_model(engine):
    Try("segment").run()
    folders, stage = engine.created
    assert folders["Cmd"][1:] == ["/shared/history", "/shared/model"]
    assert [one["Source"] for one in stage["HostConfig"]["Mounts"][2:]] == ["/data/bank/history", "/data/bank/model"]


def test_a_stage_of_an_experimental_run_cannot_write_to_the_model_folder(engine):
    attempt = Try("segment")
    attempt.params["publish"] = "never"
    attempt.run()
    folders, stage = engine.created
    assert folders["Cmd"][1:] == ["/shared/history"]
    assert [one["Target"] for one in stage["HostConfig"]["Mounts"] if not one["ReadOnly"]] == folders["Cmd"]


def test_contradictory_settings_fail_the_first_task_before_its_container_starts(engine):
    engine.images.add("probe-pipeline/extract:latest")
    first = Try("extract")
    first.params |= {"n_clusters": 12, "k_values": [2, 3]}
    assert fails(first, again=False).startswith(
        "failed (64, invalid settings): these settings contradict each other: n_clusters is"
    )
    assert engine.created == []


def test_the_first_stage_of_a_run_makes_the_folders_of_all_stages(engine):
    first = Try("extract")
    with first.operator.dag:
        second = StageOperator(task_id="train_it", pipeline=PIPELINE, stage="train")
    engine.images.add("probe-pipeline/extract:latest")
    first.run()
    assert [path.rpartition("/")[2] for path in engine.created[0]["Cmd"]] == ["extract", "train"]
    second.execute(first.context)
    assert [container["Image"] for container in engine.created[1:]] == [
        "probe-pipeline/extract:latest",
        "probe-pipeline/train:latest",
    ]


def test_the_cpu_limit_is_at_most_the_number_of_cpus_of_the_engine(engine):
    Try().run()
    host = engine.created[1]["HostConfig"]
    assert host["NanoCpus"] == 10**9
    assert "OMP_NUM_THREADS=1" in engine.created[1]["Env"]


def test_the_stage_gets_its_own_settings_and_their_sources(engine, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_PROBE_PIPELINE", '{"n_init": 20, "outliers": "clip"}')
    task = Try()
    task.params["k_values"] = [2, 5]
    task.run()
    variables = dict(line.split("=", 1) for line in engine.created[1]["Env"] if line.startswith("PIPELINE_"))
    assert variables.pop("PIPELINE_IMAGE") == f"probe-pipeline/train:latest sha256:{'0' * 64}"
    assert variables == {
        "PIPELINE_K_VALUES": "2,5",
        "PIPELINE_N_INIT": "20",
        "PIPELINE_SOURCES": "k_values=form,n_init=variable",
    }


LONG_AGO, THIS_WEEK = datetime(2026, 1, 5, 9, tzinfo=UTC), datetime(2026, 3, 2, 9, tzinfo=UTC)
THURSDAY = datetime(2026, 3, 5, 12, tzinfo=UTC)


def publishing(engine, logical_date, publish="if-passed"):
    """Run a stage that publishes, on a Thursday; returns its setting, the source of that, and whether it may write model/."""
    engine.images.add("probe-pipeline/segment:latest")
    task = Try("segment", schedule="0 9 * * 1")
    task.dag_run = SimpleNamespace(logical_date=logical_date, start_date=THURSDAY)
    task.params["publish"] = publish
    task.run()
    given = dict(line.split("=", 1) for line in engine.created[-1]["Env"])
    folders = [mount["Target"] for mount in engine.created[-1]["HostConfig"]["Mounts"]]
    return given.get("PIPELINE_PUBLISH"), given.get("PIPELINE_SOURCES"), "/shared/model" in folders


def test_a_run_for_a_past_date_publishes_nothing_and_records_the_source(engine):
    assert publishing(engine, LONG_AGO) == ("never", "publish=backfill", False)


@pytest.mark.parametrize("logical_date", [None, THIS_WEEK, THURSDAY])
def test_a_run_without_a_date_or_for_this_week_publishes(engine, logical_date):
    assert publishing(engine, logical_date) == (None, None, True)


def test_a_run_for_a_past_date_publishes_if_that_was_requested(engine):
    assert publishing(engine, LONG_AGO, "always") == ("always", "publish=form", True)


def test_an_experimental_run_for_a_past_date_keeps_the_source_form(engine):
    assert publishing(engine, LONG_AGO, "never") == ("never", "publish=form", False)


def test_a_stage_outside_of_runs_gets_the_target_run_and_no_settings_of_the_form(engine):
    task = Try("changes", target_run="the other run")
    task.params = {"run": "the other run"}
    task.run()
    assert engine.created[1]["Cmd"] == ["--run=the other run"]
    assert engine.created[0]["Cmd"][0].startswith("/shared/runs/the-other-run-")
    assert not [line for line in engine.created[1]["Env"] if "SOURCES" in line]


def test_the_stage_gets_the_digests_of_upstream_manifests_and_a_missing_one_is_logged(engine, caplog):
    task = Try()
    with task.operator.dag:
        extract, transform = (
            StageOperator(task_id=f"{name}_it", pipeline=PIPELINE, stage=name) for name in ("extract", "transform")
        )
        extract >> transform >> task.operator
    task.xcom = {("extract_it", "manifest"): DIGEST}
    task.run()
    assert f"PIPELINE_UPSTREAM=extract={DIGEST}" in engine.created[1]["Env"]
    assert "transform_it reported no manifest" in caplog.text


def test_the_containers_of_a_mapped_task_have_the_map_index_as_label(engine):
    task = Try()
    task.instance.map_index = 3
    task.run()
    assert engine.created[1]["Labels"]["probe-pipeline.map-index"] == "3"


# --- errors of the engine


def test_a_missing_image_is_not_pulled(engine):
    engine.images.clear()
    assert "has no image probe-pipeline/train:latest: build it with `make images`" in fails(Try(), again=False)
    assert engine.created == []


@pytest.mark.parametrize(
    ("request_", "refusal", "reason", "again"),
    [
        ("POST /containers/create", Refusal(400, "bind source path does not exist: /data"), "must be the path of", False),
        (
            "POST /containers/create",
            Refusal(500, "no\nidea"),
            "failed (75, transient error): the Docker engine answered: no idea",
            True,
        ),
        ("GET /info", Refusal(500, "busy"), "the Docker engine answered: busy", True),
    ],
)
def test_a_refusal_of_the_engine_is_transient_unless_the_volume_is_wrong(engine, request_, refusal, reason, again):
    engine.refusals[request_] = refusal
    assert reason in fails(Try(), again=again)


def test_a_missing_engine_is_a_transient_error(engine, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    assert "no Docker engine answers at tcp://127.0.0.1:9" in fails(Try(), again=True)


def test_a_remote_engine_is_not_contacted_without_a_certificate(engine, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "nothing"))
    reason = fails(Try(), again=False)
    assert reason.startswith("failed (78, volume or image misconfigured): DOCKER_CERT_PATH is ")
    assert reason.endswith("nothing: expected ca.pem, cert.pem and key.pem there")


def test_a_broken_connection_to_the_engine_is_a_transient_error(engine, monkeypatch):
    monkeypatch.setattr("tests.stagekit.airflow.fake_engine.FakeEngine._create", lambda *_: 1 / 0)  # the connection breaks off
    assert "failed (75, transient error): the Docker engine does not answer" in fails(Try(), again=True)


@pytest.mark.parametrize(
    ("mkdir_output", "reason", "again"),
    [
        ("mkdir: No space left on device", "failed (75, transient error): the volume is full", True),
        (
            "mkdir: Permission denied",
            "Permission denied: user 50000:0 needs write access to /data/bank on the Docker host",
            False,
        ),
    ],
)
def test_a_folder_that_cannot_be_made_is_reported_with_the_reason(engine, mkdir_output, reason, again):
    engine.folders = End(1, stdout="", stderr=mkdir_output)
    assert reason in fails(Try(), again=again)


# --- invalid configuration


def test_an_invalid_airflow_variable_fails_the_task_before_a_container_is_created(engine, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_PROBE_PIPELINE", '{"k_values": "all"}')
    assert fails(Try(), again=False).startswith("failed (64, invalid settings): the Airflow Variable probe_pipeline sets k_")
    assert engine.created == []


def test_a_run_that_began_on_another_volume_is_not_continued(engine):
    task = Try()
    with task.operator.dag:
        StageOperator(task_id="transform_it", pipeline=PIPELINE, stage="transform") >> task.operator
    task.xcom = {("transform_it", "manifest"): DIGEST, ("transform_it", "volume"): "/data/sample"}
    assert fails(task, again=False) == (
        "failed (78, volume or image misconfigured): transform of this run has written to the volume /data/sample, "
        "and Airflow has been started with /data/bank since: start a new run, or go back with `make up VOLUME=/data/sample "
        "CHANGE_VOLUME=yes` and clear this task"
    )
    assert engine.created == []


# --- containers of other tasks


def labels_of(task, attempt):
    return {
        "probe-pipeline.volume": "/data/bank",
        "probe-pipeline.dag": "probe",
        "probe-pipeline.run": task.instance.run_id,
        "probe-pipeline.task": "train",
        "probe-pipeline.try": str(attempt),
    }


@pytest.mark.parametrize("difference", [{"run": "another"}, {"volume": "/another"}])
def test_a_container_of_an_earlier_try_is_removed_and_one_of_another_run_or_volume_is_kept(engine, difference):
    task = Try()
    task.instance.try_number = 2
    engine.add(labels_of(task, 1))
    other = engine.add(labels_of(task, 1) | {f"probe-pipeline.{name}": value for name, value in difference.items()})
    task.run()
    assert list(engine.containers) == [other]


def test_containers_have_the_stack_s_name_as_label_and_those_of_another_stack_are_kept(engine, monkeypatch):
    monkeypatch.setenv("PIPELINE_PROJECT", "bank")
    task = Try()
    task.instance.try_number = 2
    left, other = (engine.add(labels_of(task, 1) | {"probe-pipeline.project": name}) for name in ("bank", "another"))
    task.run()
    assert {container["Labels"]["probe-pipeline.project"] for container in engine.created[2:]} == {"bank"}
    assert (left in engine.containers, other in engine.containers) == (False, True)


def test_a_try_fails_if_a_later_try_has_a_container(engine):
    task = Try()
    later = engine.add(labels_of(task, 2))
    assert fails(task, again=True) == "failed (75, transient error): a later try of this task has begun"
    assert list(engine.containers) == [later]


def test_a_try_that_ends_late_keeps_the_container_of_the_next_try(engine, monkeypatch):
    task = Try()
    later = []

    def follow(*_):
        later.append(engine.add(labels_of(task, 2)))
        return iter(())

    monkeypatch.setattr("stagekit.airflow.container_log.follow", follow)
    task.run()
    assert list(engine.containers) == later


def test_a_container_that_another_process_is_removing_is_waited_for(engine):
    task = Try()
    task.instance.try_number = 2
    left = engine.add(labels_of(task, 1))
    engine.refusals[f"DELETE /containers/{left}"] = Refusal(409, "removal is already in progress")
    task.run()
    assert engine.waited_for == [left]


def test_a_container_that_is_already_gone_counts_as_removed(engine):
    task = Try()
    task.instance.try_number = 2
    left = engine.add(labels_of(task, 1))
    engine.refusals[f"DELETE /containers/{left}"] = Refusal(404, "no such container")
    assert task.run() is None


def test_the_stage_does_not_start_if_an_old_container_cannot_be_removed(engine):
    task = Try()
    task.instance.try_number = 2
    left = engine.add(labels_of(task, 1))
    engine.refusals[f"DELETE /containers/{left}"] = Refusal(500, "it is stuck")
    assert fails(task, again=True) == "failed (75, transient error): the Docker engine answered: it is stuck"


# --- attaching to the container of an earlier try


def killed(task):
    """Run a task whose process is killed after the stage has begun; returns its container."""
    task.operator.execute(task.context)  # without the callback that removes the container
    task.xcom.clear()
    (container,) = task.engine.containers
    return container


@pytest.fixture
def first(engine):
    """A task whose process was killed, with its container on the engine."""
    task = Try()
    task.engine = engine
    engine.stage = End(stdout='"trained once"\n', stderr=log_of("fitting", f"manifest sha256:{DIGEST}"))
    task.container = killed(task)
    engine.created.clear()
    return task


def test_the_next_try_attaches_to_a_container_that_still_runs(engine, first, caplog):
    caplog.set_level(logging.INFO)
    task = first.next_try()
    assert task.run() == "trained once"
    assert task.xcom == {"manifest": DIGEST, "volume": "/data/bank"}
    assert (engine.created, engine.containers) == ([], {})
    assert f"attached to container {first.container[:12]} of try 1, running since 2026-01-05T09:00:00" in caplog.text


def test_a_try_that_died_before_it_stored_the_container_s_id_is_found_by_its_labels(engine, first):
    first.store.clear()
    assert first.next_try().run() == "trained once"
    assert engine.created == []


def test_a_container_that_has_exited_yields_its_result(engine, first):
    engine.states[first.container] = "exited"
    task = first.next_try()
    assert task.run() == "trained once"
    assert task.xcom == {"manifest": DIGEST, "volume": "/data/bank"}
    assert (engine.created, engine.containers) == ([], {})


def test_a_container_that_has_failed_permanently_yields_its_reason(engine, first):
    engine.states[first.container] = "exited"
    engine.stage = End(65, stderr=log_of("failed (65, invalid data): no rows"))
    assert fails(first.next_try(), again=False) == "failed (65, invalid data): no rows"
    assert (engine.created, engine.containers) == ([], {})


def test_a_container_with_a_transient_error_is_replaced_and_its_reason_logged(engine, first, caplog):
    engine.states[first.container] = "exited"
    engine.ends[first.container] = End(75, stderr=log_of("failed (75, transient error): was stopped (SIGTERM)"))
    assert first.next_try().run() == "trained once"
    assert len(engine.created) == 1
    assert "it has exited since: was stopped (SIGTERM)" in caplog.text


def test_a_container_that_is_removed_while_its_result_is_read_is_reported_as_removed(engine, monkeypatch):
    monkeypatch.setattr("stagekit.airflow.container_log.follow", lambda *_: iter(()))
    engine.refusals["GET /containers/" + "0" * 63 + "1/logs"] = Refusal(409, "dead or marked for removal")
    assert "was removed before it had ended" in fails(Try(), again=True)


@pytest.mark.parametrize("state", ["created", "paused", "dead"])
def test_a_container_that_does_not_run_is_replaced(engine, first, state):
    engine.states[first.container] = state
    assert first.next_try().run() == "trained once"
    assert len(engine.created) == 1


def test_a_container_that_is_being_removed_is_replaced(engine, first):
    engine.states[first.container], engine.statuses[first.container] = "exited", "Removal In Progress"
    engine.refusals[f"DELETE /containers/{first.container}"] = Refusal(409, "removal is already in progress")
    assert first.next_try().run() == "trained once"
    assert engine.waited_for == [first.container]
    assert len(engine.created) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda task, _: task.params.update(n_init=3),
        lambda task, _: task.xcom.update({("extract_it", "manifest"): "cd" * 32}),
        lambda _, monkeypatch: monkeypatch.setenv("PIPELINE_STAGE_MEMORY", "2g"),
        lambda _, monkeypatch: monkeypatch.setenv("PIPELINE_STAGE_USER", "1000:0"),
        lambda task, _: setattr(task.operator, "declaration", replace(PIPELINE["train"], publishes=(FEATURES,))),
        lambda task, _: setattr(task.engine, "image_id", "1" * 64),
    ],
    ids=["setting", "upstream digest", "memory", "user", "mounts", "image"],
)
def test_a_container_with_another_definition_is_replaced(engine, first, monkeypatch, caplog, change):
    task = first.next_try()
    with task.operator.dag:
        StageOperator(task_id="extract_it", pipeline=PIPELINE, stage="extract") >> task.operator
    change(task, monkeypatch)
    task.run()
    assert "not what this one would start" in caplog.text
    assert first.container not in engine.containers
    assert engine.created[-1]["Labels"]["probe-pipeline.try"] == "2"


def test_a_container_from_before_the_run_was_cleared_is_replaced(engine, first, caplog):
    first.dag_run.clear_number = 1
    assert first.next_try().run() == "trained once"
    assert "the run was cleared since" in caplog.text
    assert len(engine.created) == 1


def test_without_durable_a_try_replaces_an_earlier_container_and_leaves_none(engine, first):
    first.operator.durable = False
    task = first.next_try()
    task.operator.execute(task.context)
    assert len(engine.created) == 1
    assert engine.containers == {}


def test_the_log_continues_after_the_last_known_line(engine, first, caplog):
    caplog.set_level(logging.INFO)
    engine.stage = End(stderr=log_of("one", "two", "three"))
    first.store["log_until"] = {"container": first.container, "time": "2026-01-05T09:00:02.000000001Z"}
    caplog.clear()
    first.next_try().run()
    assert [message for message in caplog.messages if "train: " in message] == ["12:00:00 train: three"]
    assert "its log continues after 2026-01-05T09:00:02" in caplog.text


# --- keeping or removing the container


class Unavailable:
    """A task state store whose server does not answer, or whose supervisor has gone."""

    def get(self, key):
        raise EOFError(f"no {key}")

    def set(self, key, value):
        raise BrokenPipeError(f"no {key}={value}")


def test_a_stage_runs_without_a_state_store(engine, caplog):
    task = Try()
    task.store = Unavailable()
    assert task.run() is None
    assert engine.containers == {}
    assert "task state store is not available" in caplog.text


def test_without_a_state_store_the_next_try_attaches_by_labels(engine, first):
    first.store = Unavailable()
    assert first.next_try().run() == "trained once"
    assert engine.created == []


@pytest.mark.parametrize("end", [End(), End(75)])
def test_a_try_that_airflow_has_given_up_pushes_no_result_and_leaves_the_container(engine, end):
    engine.stage = end
    task = Try()
    task.store.get = lambda _: None  # what the API server answers to every try but the current one
    with pytest.raises(AirflowException):
        task.run()
    assert "manifest" not in task.xcom
    assert len(engine.containers) == 1


def test_a_try_without_supervisor_pushes_no_result_and_leaves_the_container(engine):
    task = Try()
    task.store = Unavailable()
    task.instance.get_task_states = Unavailable().get
    with pytest.raises(AirflowException, match="given up this try"):
        task.run()
    assert len(engine.containers) == 1


def stopped(task, monkeypatch):
    """Run a task that Airflow stops while it follows its container."""

    def follow(*_):
        task.operator.on_kill()
        yield

    monkeypatch.setattr("stagekit.airflow.container_log.follow", follow)
    with pytest.raises(AirflowException, match="was stopped"):
        task.run()


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "restarting", "removed"])
def test_the_container_is_removed_if_a_user_stops_the_task(engine, monkeypatch, state):
    task = Try()
    other = engine.add(labels_of(task, 1) | {"probe-pipeline.run": "another"})
    task.states[task.instance.run_id]["train"] = state
    stopped(task, monkeypatch)
    assert list(engine.containers) == [other]


def test_the_container_is_removed_if_the_run_is_deleted(engine, monkeypatch):
    task = Try()
    task.states.clear()
    stopped(task, monkeypatch)
    assert engine.containers == {}


@pytest.mark.parametrize("state", ["running", "up_for_retry", "queued", "scheduled", None])
def test_the_container_is_kept_for_the_next_try_if_the_worker_is_shut_down(engine, monkeypatch, state):
    task = Try()
    task.states[task.instance.run_id]["train"] = state
    stopped(task, monkeypatch)
    assert len(engine.containers) == 1


def test_the_container_is_removed_if_the_last_try_is_stopped(engine, monkeypatch):
    task = Try()
    task.instance.try_number = 2
    stopped(task, monkeypatch)
    assert engine.containers == {}


def test_the_container_is_kept_if_airflow_does_not_answer(engine, monkeypatch):
    task = Try()
    task.instance.get_task_states = Unavailable().get
    stopped(task, monkeypatch)
    assert len(engine.containers) == 1


def test_the_container_is_removed_if_the_task_times_out(engine, monkeypatch):
    task = Try()

    def follow(*_):
        raise AirflowTaskTimeout
        yield

    monkeypatch.setattr("stagekit.airflow.container_log.follow", follow)
    with pytest.raises(AirflowTaskTimeout):
        task.run()
    assert engine.containers == {}


def test_a_task_that_is_stopped_before_it_starts_creates_no_container(engine):
    task = Try()
    task.operator.on_kill()
    with pytest.raises(AirflowException, match="was stopped"):
        task.run()
    assert engine.containers == {}


@pytest.mark.parametrize(
    ("state", "is_left"), [("success", False), ("failed", False), ("running", True), ("up_for_retry", True)]
)
def test_a_container_of_another_task_is_removed_once_that_task_has_ended(engine, state, is_left):
    task = Try()
    other = engine.add(labels_of(task, 1) | {"probe-pipeline.run": "another"})
    task.states["another"] = {"train": state}
    task.run()
    assert (other in engine.containers) is is_left


def test_the_ui_shows_the_definition_of_the_container(engine):
    task = Try()
    task.run()
    shown = json.loads(json.dumps({name: getattr(task.operator, name) for name in task.operator.template_fields}))
    assert (shown["image"], shown["command"]) == ("probe-pipeline/train:latest", [f"--run={task.instance.run_id}"])
    assert shown["mounts"][0]["Source"] == "/data/bank"
    assert shown["docker_run"].startswith("docker run --rm")


# --- the levels of the log


def test_warnings_and_errors_of_a_stage_keep_their_level(engine, caplog):
    caplog.set_level(logging.INFO)
    engine.stage = End(
        65, stderr=log_of("reading", "WARNING: no id", "ERROR: odd") + "Traceback\n" + log_of("failed (65, invalid data): no")
    )
    fails(Try(), again=False)
    levels = {record.getMessage().removeprefix("12:00:00 train: "): record.levelname for record in caplog.records}
    assert levels["reading"] == "INFO"
    assert levels["WARNING: no id"] == "WARNING"
    assert levels["ERROR: odd"] == levels["Traceback"] == levels["failed (65, invalid data): no"] == "ERROR"


# --- lineage


def test_with_lineage_the_manifest_is_read_from_the_container_and_described(engine, monkeypatch):
    engine.stage = End(stderr=log_of(f"manifest sha256:{DIGEST}"))
    monkeypatch.setattr("stagekit.airflow.lineage.is_enabled", lambda: True)
    monkeypatch.setattr("stagekit.airflow.lineage.read_manifest", lambda *asked: asked[1:])
    monkeypatch.setattr("stagekit.airflow.lineage.describe_lineage", lambda *described: described)
    task = Try()
    task.run()
    (container, path, digest), _, volume, folder = task.operator.get_openlineage_facets_on_complete(task.instance)
    assert (container, digest) == (task.operator.container["Id"], DIGEST)
    assert (path, volume) == (f"/shared/{folder}/manifest.json", "/data/bank")


def test_without_lineage_nothing_is_read_or_described(engine, monkeypatch):
    engine.stage = End(stderr=log_of(f"manifest sha256:{DIGEST}"))
    monkeypatch.setattr("stagekit.airflow.lineage.read_manifest", lambda *_: 1 / 0)
    task = Try()
    task.run()
    assert task.operator.get_openlineage_facets_on_complete(task.instance) is None


# --- the end of the log of a failure


def test_the_log_ends_with_the_reason_and_the_command_that_replays_the_stage(engine, caplog):
    engine.stage = End(65, stderr=log_of("failed (65, invalid data): no rows"))
    task = Try()
    reason = fails(task, again=False)
    caplog.clear()
    log_failure_reason(task.context | {"exception": reason})
    last = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert last[0] == reason
    assert last[1].startswith("to replay this stage by hand: docker run --rm --init --network=none")


def test_the_log_of_a_failure_without_exception_contains_no_command(caplog):
    log_failure_reason({"task": SimpleNamespace()})
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "the task process exited unexpectedly"
    ]
