"""StageOperator with a toy for an engine: what it asks for, and what it makes of the answers. Needs no Docker."""

import logging
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from stagekit.airflow.stage_operator import StageOperator, log_failure_reason
from tests.stagekit.airflow.fake_engine import End, Refusal, running_toy
from tests.stagekit.airflow.tries import Try

DIGEST = "ab" * 32


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setenv("SEGMENTATION_HOST_VOLUME", "/data/bank")
    for name in ("SEGMENTATION_STAGE_MEMORY", "DOCKER_CERT_PATH", "AIRFLOW_VAR_CUSTOMER_SEGMENTATION"):
        monkeypatch.delenv(name, raising=False)
    with running_toy() as (toy, address):
        monkeypatch.setenv("DOCKER_HOST", address)
        yield toy


def said(*lines):
    return "".join(f"12:00:00 train: {line}\n" for line in lines)


def fails(task, *, again):
    """Run a task that fails; returns why."""
    with pytest.raises(AirflowException) as failed:
        task.run()
    assert isinstance(failed.value, AirflowFailException) is not again
    assert task.xcom["reason"] == str(failed.value)
    return str(failed.value)


# --- what comes back


def test_the_result_comes_back_the_digest_goes_on_and_nothing_is_left(toy):
    toy.stage = End(stdout='{"k_values": [2, 3]}\n', stderr=said("fitting", f"manifest sha256:{DIGEST}"))
    task = Try()
    assert task.run() == {"k_values": [2, 3]}
    assert task.xcom == {"manifest": DIGEST, "volume": "/data/bank"}
    assert toy.containers == {}


def test_a_stage_that_reports_no_manifest_has_none_to_hand_on(toy):
    task = Try()
    assert task.run() is None
    assert task.xcom == {}


def test_what_is_not_json_is_a_defect_of_the_stage(toy):
    toy.stage = End(stdout="hello\n")
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
def test_the_reason_that_a_stage_gives_is_the_task_s_and_its_code_decides_about_another_try(toy, code, meaning, again):
    reason = f"failed ({code}, {meaning}): file.csv row 17: BALANCE is 'abc'"
    toy.stage = End(code, stderr=said("reading", reason))
    assert fails(Try(), again=again) == reason
    assert toy.containers == {}


@pytest.mark.parametrize(
    "end", [End(1, out_of_memory=True), End(137, stderr=said("failed (137, out of memory): the data does not fit"))]
)
def test_out_of_memory_names_the_limit_whoever_noticed_it(toy, end):
    toy.stage = end
    assert "train does not fit into 4g of memory: raise SEGMENTATION_STAGE_MEMORY" in fails(Try(), again=False)


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
            End(1, stderr=said("failed (65, invalid data): no")),
            "failed (70, internal error): train ended with exit code 1",
        ),
    ],
)
def test_an_end_that_the_stage_did_not_explain_is_tried_again(toy, end, reason):
    toy.stage = end
    assert fails(Try(), again=True).startswith(reason)


# --- what it asks for


def test_the_stage_sees_the_volume_and_writes_to_its_own_folder_alone(toy):
    Try(publishes=False).run()
    folders, stage = toy.created
    (own,) = folders["Cmd"]
    assert own.startswith("/shared/runs/manual__")
    assert own.endswith("/train")
    assert [(one["Target"], one["Source"], one["ReadOnly"]) for one in stage["HostConfig"]["Mounts"]] == [
        ("/shared", "/data/bank", True),
        (own, own.replace("/shared", "/data/bank"), False),
    ]


def test_one_that_publishes_writes_to_the_history_and_the_model_too(toy):
    Try(publishes=True).run()
    folders, stage = toy.created
    assert folders["Cmd"][1:] == ["/shared/history", "/shared/model"]
    assert [one["Source"] for one in stage["HostConfig"]["Mounts"][2:]] == ["/data/bank/history", "/data/bank/model"]


def test_a_stage_of_an_experimental_run_cannot_write_to_the_model_folder(toy):
    attempt = Try(publishes=True)
    attempt.params["publish"] = "never"
    attempt.run()
    folders, stage = toy.created
    assert folders["Cmd"][1:] == ["/shared/history"]
    assert [one["Target"] for one in stage["HostConfig"]["Mounts"] if not one["ReadOnly"]] == folders["Cmd"]


def test_settings_that_contradict_each_other_fail_the_first_task_before_its_container_starts(toy):
    toy.images.add("customer-segmentation/extract:latest")
    first = Try("extract")
    first.params |= {"n_clusters": 12, "k_values": [2, 3]}
    assert fails(first, again=False).startswith(
        "failed (64, invalid settings): these settings contradict each other: n_clusters is"
    )
    assert toy.created == []


def test_the_first_stage_of_a_run_makes_the_folders_of_all_and_the_others_need_none(toy):
    first = Try("extract")
    with first.operator.dag:
        second = StageOperator(task_id="train_it", stage="train")
    toy.images.add("customer-segmentation/extract:latest")
    first.run()
    assert [path.rpartition("/")[2] for path in toy.created[0]["Cmd"]] == ["extract", "train"]
    second.execute(first.context)
    assert [container["Image"] for container in toy.created[1:]] == [
        "customer-segmentation/extract:latest",
        "customer-segmentation/train:latest",
    ]


def test_the_limits_are_those_of_the_installation_and_no_more_cpus_than_the_engine_has(toy):
    Try().run()
    host = toy.created[1]["HostConfig"]
    assert host["NanoCpus"] == 10**9
    assert host["Memory"] == host["MemorySwap"] == 4 * 2**30
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Init"], host["PidsLimit"]) == (True, ["ALL"], True, 512)
    assert "OMP_NUM_THREADS=1" in toy.created[1]["Env"]


def test_the_stage_is_told_what_it_may_know_of_the_form_and_who_said_so(toy, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_CUSTOMER_SEGMENTATION", '{"n_init": 20, "outliers": "clip"}')
    task = Try()
    task.params["k_values"] = [2, 5]
    task.run()
    told = dict(line.split("=", 1) for line in toy.created[1]["Env"] if line.startswith("SEGMENTATION"))
    assert told.pop("SEGMENTATION_IMAGE") == f"customer-segmentation/train:latest sha256:{'0' * 64}"
    assert told == {
        "SEGMENTATION_K_VALUES": "2,5",
        "SEGMENTATION_N_INIT": "20",
        "SEGMENTATION_SOURCES": "k_values=form,n_init=variable",
    }


LONG_AGO, THIS_WEEK = datetime(2026, 1, 5, 9, tzinfo=UTC), datetime(2026, 3, 2, 9, tzinfo=UTC)
THURSDAY = datetime(2026, 3, 5, 12, tzinfo=UTC)


def publishing(toy, logical_date, publish="if-passed"):
    """Run a stage that publishes, on a Thursday; returns its setting, where that is from, and whether it may write model/."""
    toy.images.add("customer-segmentation/segment:latest")
    task = Try("segment", schedule="0 9 * * 1", publishes=True)
    task.dag_run = SimpleNamespace(logical_date=logical_date, start_date=THURSDAY)
    task.params["publish"] = publish
    task.run()
    given = dict(line.split("=", 1) for line in toy.created[-1]["Env"])
    folders = [mount["Target"] for mount in toy.created[-1]["HostConfig"]["Mounts"]]
    return given.get("SEGMENTATION_PUBLISH"), given.get("SEGMENTATION_SOURCES"), "/shared/model" in folders


def test_a_run_for_a_past_date_publishes_nothing_and_the_manifest_says_why(toy):
    assert publishing(toy, LONG_AGO) == ("never", "publish=backfill", False)


@pytest.mark.parametrize("logical_date", [None, THIS_WEEK, THURSDAY])
def test_a_run_without_a_date_or_for_this_week_publishes(toy, logical_date):
    assert publishing(toy, logical_date) == (None, None, True)


def test_a_run_for_a_past_date_publishes_if_that_was_requested(toy):
    assert publishing(toy, LONG_AGO, "always") == ("always", "publish=form", True)


def test_a_run_for_a_past_date_that_is_an_experiment_anyway_says_so(toy):
    assert publishing(toy, LONG_AGO, "never") == ("never", "publish=form", False)


def test_who_works_on_what_a_run_published_is_told_of_that_run_and_not_of_the_form(toy):
    task = Try("changes", of_run="the other run")
    task.params = {"run": "the other run"}
    task.run()
    assert toy.created[1]["Cmd"] == ["--run=the other run"]
    assert toy.created[0]["Cmd"][0].startswith("/shared/runs/the-other-run-")
    assert not [line for line in toy.created[1]["Env"] if "SOURCES" in line]


def test_the_stages_before_it_vouch_for_their_manifests_and_a_task_without_one_is_named(toy, caplog):
    task = Try()
    with task.operator.dag:
        extract, transform = (StageOperator(task_id=f"{name}_it", stage=name) for name in ("extract", "transform"))
        extract >> transform >> task.operator
    task.xcom = {("extract_it", "manifest"): DIGEST}
    task.run()
    assert f"SEGMENTATION_UPSTREAM=extract={DIGEST}" in toy.created[1]["Env"]
    assert "transform_it reported no manifest" in caplog.text


def test_each_piece_of_a_mapped_task_is_one_of_its_own(toy):
    task = Try()
    task.instance.map_index = 3
    task.run()
    assert toy.created[1]["Labels"]["customer-segmentation.map-index"] == "3"


# --- what the engine says


def test_an_image_that_is_not_there_is_not_pulled(toy):
    toy.images.clear()
    assert "has no image customer-segmentation/train:latest: build it with `make images`" in fails(Try(), again=False)
    assert toy.created == []


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
def test_what_the_engine_refuses_is_passing_trouble_unless_the_volume_is_wrong(toy, request_, refusal, reason, again):
    toy.refusals[request_] = refusal
    assert reason in fails(Try(), again=again)


def test_an_engine_that_is_not_there_is_passing_trouble(toy, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    assert "no Docker engine answers at tcp://127.0.0.1:9" in fails(Try(), again=True)


def test_an_engine_elsewhere_is_not_asked_without_a_certificate(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "nothing"))
    reason = fails(Try(), again=False)
    assert reason.startswith("failed (78, volume or image misconfigured): DOCKER_CERT_PATH is ")
    assert reason.endswith("nothing: expected ca.pem, cert.pem and key.pem there")


def test_an_engine_that_goes_away_in_between_is_passing_trouble(toy, monkeypatch):
    monkeypatch.setattr("tests.stagekit.airflow.fake_engine.Toy._create", lambda *_: 1 / 0)  # the connection breaks off
    assert "failed (75, transient error): the Docker engine does not answer" in fails(Try(), again=True)


@pytest.mark.parametrize(
    ("said_by_mkdir", "reason", "again"),
    [
        ("mkdir: No space left on device", "failed (75, transient error): the volume is full", True),
        (
            "mkdir: Permission denied",
            "Permission denied: user 50000:0 needs write access to /data/bank on the Docker host",
            False,
        ),
    ],
)
def test_a_folder_that_cannot_be_made_says_what_is_in_the_way(toy, said_by_mkdir, reason, again):
    toy.folders = End(1, stdout="", stderr=said_by_mkdir)
    assert reason in fails(Try(), again=again)


# --- what cannot work, whatever the engine says


def test_a_volume_that_is_not_set_is_asked_for_by_the_name_of_its_variable(toy, monkeypatch):
    monkeypatch.delenv("SEGMENTATION_HOST_VOLUME")
    assert "SEGMENTATION_HOST_VOLUME is not set: expected the path of shared_volume" in fails(Try(), again=False)
    assert toy.created == []


def test_a_wrong_variable_ends_the_task_before_there_is_a_container(toy, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_CUSTOMER_SEGMENTATION", '{"k_values": "all"}')
    assert fails(Try(), again=False).startswith(
        "failed (64, invalid settings): the Airflow Variable customer_segmentation sets k_"
    )
    assert toy.created == []


def test_a_run_that_began_on_another_volume_is_not_continued_on_this_one(toy):
    task = Try()
    with task.operator.dag:
        StageOperator(task_id="transform_it", stage="transform") >> task.operator
    task.xcom = {("transform_it", "manifest"): DIGEST, ("transform_it", "volume"): "/data/sample"}
    assert fails(task, again=False) == (
        "failed (78, volume or image misconfigured): transform of this run has written to the volume /data/sample, "
        "and Airflow has been started with /data/bank since: start a new run, or go back with `make up VOLUME=/data/sample "
        "CHANGE_VOLUME=yes` and clear this task"
    )
    assert toy.created == []


# --- whose container is whose


def labels_of(task, attempt):
    return {
        "customer-segmentation.volume": "/data/bank",
        "customer-segmentation.dag": "probe",
        "customer-segmentation.run": task.instance.run_id,
        "customer-segmentation.task": "train",
        "customer-segmentation.try": str(attempt),
    }


def test_what_an_earlier_try_left_is_removed_and_what_is_of_another_run_is_not(toy):
    task = Try()
    task.instance.try_number = 2
    toy.add(labels_of(task, 1))
    other = toy.add(labels_of(task, 1) | {"customer-segmentation.run": "another"})
    task.run()
    assert list(toy.containers) == [other]


def test_the_containers_of_a_stack_carry_its_name_and_those_of_another_one_on_the_same_volume_are_left_alone(toy, monkeypatch):
    monkeypatch.setenv("SEGMENTATION_PROJECT", "bank")
    task = Try()
    task.instance.try_number = 2
    left, other = (toy.add(labels_of(task, 1) | {"customer-segmentation.project": name}) for name in ("bank", "another"))
    task.run()
    assert {container["Labels"]["customer-segmentation.project"] for container in toy.created[2:]} == {"bank"}
    assert (left in toy.containers, other in toy.containers) == (False, True)


def test_a_try_that_was_given_up_for_lost_makes_way_for_a_later_one(toy):
    task = Try()
    later = toy.add(labels_of(task, 2))
    assert fails(task, again=True) == "failed (75, transient error): a later try of this task has begun"
    assert list(toy.containers) == [later]


def test_a_container_that_somebody_else_is_removing_is_waited_for(toy):
    task = Try()
    task.instance.try_number = 2
    left = toy.add(labels_of(task, 1))
    toy.refusals[f"DELETE /containers/{left}"] = Refusal(409, "removal is already in progress")
    task.run()
    assert toy.waited_for == [left]


def test_a_container_that_has_gone_by_itself_is_as_good_as_removed(toy):
    task = Try()
    task.instance.try_number = 2
    left = toy.add(labels_of(task, 1))
    toy.refusals[f"DELETE /containers/{left}"] = Refusal(404, "no such container")
    assert task.run() is None


def test_a_container_that_cannot_be_removed_keeps_the_stage_from_starting(toy):
    task = Try()
    task.instance.try_number = 2
    left = toy.add(labels_of(task, 1))
    toy.refusals[f"DELETE /containers/{left}"] = Refusal(500, "it is stuck")
    assert fails(task, again=True) == "failed (75, transient error): the Docker engine answered: it is stuck"


# --- a try attaches to what an earlier one has left


def killed(task):
    """Run a task whose process is killed after the stage has begun; returns its container."""
    task.operator.execute(task.context)  # without the callback that removes the container
    task.xcom.clear()
    (container,) = task.toy.containers
    return container


@pytest.fixture
def first(toy):
    """A task whose process was killed, with its container on the engine."""
    task = Try(publishes=False)
    task.toy = toy
    toy.stage = End(stdout='"trained once"\n', stderr=said("fitting", f"manifest sha256:{DIGEST}"))
    task.container = killed(task)
    toy.created.clear()
    return task


def test_the_next_try_attaches_to_a_container_that_still_runs(toy, first, caplog):
    caplog.set_level(logging.INFO)
    task = first.next_try()
    assert task.run() == "trained once"
    assert task.xcom == {"manifest": DIGEST, "volume": "/data/bank"}
    assert (toy.created, toy.containers) == ([], {})
    assert f"attached to container {first.container[:12]} of try 1: it has run since 2026-01-05T09:00:00" in caplog.text


def test_a_try_that_died_before_it_stored_the_container_s_id_is_found_by_its_labels(toy, first):
    first.store.clear()
    assert first.next_try().run() == "trained once"
    assert toy.created == []


def test_a_container_that_has_ended_meanwhile_yields_its_result(toy, first):
    toy.states[first.container] = "exited"
    task = first.next_try()
    assert task.run() == "trained once"
    assert task.xcom == {"manifest": DIGEST, "volume": "/data/bank"}
    assert (toy.created, toy.containers) == ([], {})


def test_a_container_that_has_failed_for_good_meanwhile_yields_its_reason(toy, first):
    toy.states[first.container] = "exited"
    toy.stage = End(65, stderr=said("failed (65, invalid data): no rows"))
    assert fails(first.next_try(), again=False) == "failed (65, invalid data): no rows"
    assert (toy.created, toy.containers) == ([], {})


def test_a_container_that_has_met_passing_trouble_meanwhile_is_replaced_and_its_reason_logged(toy, first, caplog):
    toy.states[first.container] = "exited"
    toy.ends[first.container] = End(75, stderr=said("failed (75, transient error): was told to stop (SIGTERM)"))
    assert first.next_try().run() == "trained once"
    assert len(toy.created) == 1
    assert "it ended meanwhile: was told to stop (SIGTERM)" in caplog.text


@pytest.mark.parametrize("state", ["created", "paused", "dead"])
def test_a_container_that_does_not_run_is_replaced(toy, first, state):
    toy.states[first.container] = state
    assert first.next_try().run() == "trained once"
    assert len(toy.created) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda task, _: task.params.update(n_init=3),
        lambda task, _: task.xcom.update({("extract_it", "manifest"): "cd" * 32}),
        lambda _, monkeypatch: monkeypatch.setenv("SEGMENTATION_STAGE_MEMORY", "2g"),
        lambda _, monkeypatch: monkeypatch.setenv("SEGMENTATION_STAGE_USER", "1000:0"),
        lambda task, _: setattr(task.operator, "publishes", True),
        lambda task, _: setattr(task.toy, "image_id", "1" * 64),
    ],
    ids=["setting", "upstream digest", "memory", "user", "mounts", "image"],
)
def test_a_container_that_this_try_would_not_have_started_is_replaced(toy, first, monkeypatch, caplog, change):
    task = first.next_try()
    with task.operator.dag:
        StageOperator(task_id="extract_it", stage="extract") >> task.operator
    change(task, monkeypatch)
    task.run()
    assert "not what this one would start" in caplog.text
    assert first.container not in toy.containers
    assert toy.created[-1]["Labels"]["customer-segmentation.try"] == "2"


def test_a_container_from_before_the_run_was_cleared_is_replaced(toy, first, caplog):
    first.dag_run.clear_number = 1
    assert first.next_try().run() == "trained once"
    assert "the run was cleared since" in caplog.text
    assert len(toy.created) == 1


def test_without_durable_a_try_replaces_whatever_an_earlier_one_has_left_and_leaves_nothing(toy, first):
    first.operator.durable = False
    task = first.next_try()
    task.operator.execute(task.context)
    assert len(toy.created) == 1
    assert toy.containers == {}


def test_the_log_continues_after_the_last_line_that_has_arrived(toy, first, caplog):
    caplog.set_level(logging.INFO)
    toy.stage = End(stderr=said("one", "two", "three"))
    first.store["log_until"] = {"container": first.container, "time": "2026-01-05T09:00:02.000000001Z"}
    caplog.clear()
    first.next_try().run()
    assert [message for message in caplog.messages if "train: " in message] == ["12:00:00 train: three"]
    assert "its log continues after 2026-01-05T09:00:02" in caplog.text


# --- and nobody else touches it


class Unavailable:
    """A task state store whose server does not answer, or whose supervisor has gone."""

    def get(self, key):
        raise EOFError(f"no {key}")

    def set(self, key, value):
        raise BrokenPipeError(f"no {key}={value}")


def test_without_a_state_store_a_stage_runs_all_the_same(toy, caplog):
    task = Try()
    task.store = Unavailable()
    assert task.run() is None
    assert toy.containers == {}
    assert "task state store is not available" in caplog.text


def test_without_a_state_store_the_next_try_attaches_by_labels(toy, first):
    first.store = Unavailable()
    assert first.next_try().run() == "trained once"
    assert toy.created == []


@pytest.mark.parametrize("end", [End(), End(75)])
def test_a_process_whose_try_was_given_up_pushes_no_result_and_leaves_the_container(toy, end):
    toy.stage = end
    task = Try()
    task.store.get = lambda _: None  # what the API server answers to every try but the current one
    with pytest.raises(AirflowException):
        task.run()
    assert "manifest" not in task.xcom
    assert len(toy.containers) == 1


def test_a_process_whose_supervisor_has_gone_pushes_no_result_and_leaves_the_container(toy):
    task = Try()
    task.store = Unavailable()
    task.instance.get_task_states = Unavailable().get
    with pytest.raises(AirflowException, match="given up this try"):
        task.run()
    assert len(toy.containers) == 1


def stopped(task, monkeypatch):
    """Run a task that Airflow stops while it follows its container."""

    def follow(*_):
        task.operator.on_kill()
        yield

    monkeypatch.setattr("stagekit.airflow.stage_operator.follow", follow)
    with pytest.raises(AirflowException, match="told to stop"):
        task.run()


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "restarting", "removed"])
def test_a_task_that_a_user_stops_takes_its_container_with_it_and_no_other(toy, monkeypatch, state):
    task = Try()
    other = toy.add(labels_of(task, 1) | {"customer-segmentation.run": "another"})
    task.states[task.instance.run_id]["train"] = state
    stopped(task, monkeypatch)
    assert list(toy.containers) == [other]


def test_a_task_whose_run_is_deleted_takes_its_container_with_it(toy, monkeypatch):
    task = Try()
    task.states.clear()
    stopped(task, monkeypatch)
    assert toy.containers == {}


@pytest.mark.parametrize("state", ["running", "up_for_retry", "queued", "scheduled", None])
def test_a_task_whose_worker_is_shut_down_leaves_its_container_to_the_next_try(toy, monkeypatch, state):
    task = Try()
    task.states[task.instance.run_id]["train"] = state
    stopped(task, monkeypatch)
    assert len(toy.containers) == 1


def test_a_task_whose_last_try_is_stopped_leaves_nothing(toy, monkeypatch):
    task = Try()
    task.instance.try_number = 2
    stopped(task, monkeypatch)
    assert toy.containers == {}


def test_a_task_that_is_stopped_while_airflow_does_not_answer_leaves_its_container(toy, monkeypatch):
    task = Try()
    task.instance.get_task_states = Unavailable().get
    stopped(task, monkeypatch)
    assert len(toy.containers) == 1


def test_a_task_that_runs_out_of_time_takes_its_container_with_it(toy, monkeypatch):
    task = Try()

    def follow(*_):
        raise AirflowTaskTimeout
        yield

    monkeypatch.setattr("stagekit.airflow.stage_operator.follow", follow)
    with pytest.raises(AirflowTaskTimeout):
        task.run()
    assert toy.containers == {}


def test_a_task_that_is_stopped_before_it_has_begun_starts_nothing(toy):
    task = Try()
    task.operator.on_kill()
    with pytest.raises(AirflowException, match="told to stop"):
        task.run()
    assert toy.containers == {}


@pytest.mark.parametrize(
    ("state", "is_left"), [("success", False), ("failed", False), ("running", True), ("up_for_retry", True)]
)
def test_what_is_left_of_another_task_goes_once_that_task_has_ended(toy, state, is_left):
    task = Try()
    other = toy.add(labels_of(task, 1) | {"customer-segmentation.run": "another"})
    task.states["another"] = {"train": state}
    task.run()
    assert (other in toy.containers) is is_left


# --- the levels of the log


def test_warnings_and_errors_of_a_stage_keep_their_level(toy, caplog):
    caplog.set_level(logging.INFO)
    toy.stage = End(
        65, stderr=said("reading", "WARNING: no id", "ERROR: odd") + "Traceback\n" + said("failed (65, invalid data): no")
    )
    fails(Try(), again=False)
    levels = {record.getMessage().removeprefix("12:00:00 train: "): record.levelname for record in caplog.records}
    assert levels["reading"] == "INFO"
    assert levels["WARNING: no id"] == "WARNING"
    assert levels["ERROR: odd"] == levels["Traceback"] == levels["failed (65, invalid data): no"] == "ERROR"


# --- lineage


def test_with_lineage_the_manifest_is_read_before_the_container_goes_and_described_to_the_provider(toy, monkeypatch):
    toy.stage = End(stderr=said(f"manifest sha256:{DIGEST}"))
    monkeypatch.setattr("stagekit.airflow.lineage.is_enabled", lambda: True)
    monkeypatch.setattr("stagekit.airflow.lineage.read_manifest", lambda *asked: asked[1:])
    monkeypatch.setattr("stagekit.airflow.lineage.describe_lineage", lambda *described: described)
    task = Try()
    task.run()
    (container, path, digest), volume, folder = task.operator.get_openlineage_facets_on_complete(task.instance)
    assert (container, digest) == (task.operator.container["Id"], DIGEST)
    assert (path, volume) == (f"/shared/{folder}/manifest.json", "/data/bank")


def test_without_lineage_nothing_is_read_or_described(toy, monkeypatch):
    toy.stage = End(stderr=said(f"manifest sha256:{DIGEST}"))
    monkeypatch.setattr("stagekit.airflow.lineage.read_manifest", lambda *_: 1 / 0)
    task = Try()
    task.run()
    assert task.operator.get_openlineage_facets_on_complete(task.instance) is None


# --- the last words in the log


def test_the_log_ends_with_the_reason_and_the_command_that_replays_the_stage(toy, caplog):
    toy.stage = End(65, stderr=said("failed (65, invalid data): no rows"))
    task = Try()
    reason = fails(task, again=False)
    caplog.clear()
    log_failure_reason(task.context | {"exception": reason})
    last = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert last[0] == reason
    assert last[1].startswith("to replay this stage by hand: docker run --rm --init --network=none")


def test_a_task_whose_process_is_gone_has_no_command_and_says_so(caplog):
    log_failure_reason({"task": SimpleNamespace()})
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "the process of the task has gone"
    ]
