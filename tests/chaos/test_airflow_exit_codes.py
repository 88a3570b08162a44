"""How the real scheduler treats each exit code of a stage."""

import pytest

from stagekit.errors import ExitCode
from tests.chaos.airflow import Airflow
from tests.chaos.conftest import Record

pytestmark = pytest.mark.needs_docker

RUNS = {ExitCode.OUT_OF_MEMORY: "memory"} | {code: str(int(code)) for code in ExitCode if 0 < code < ExitCode.OUT_OF_MEMORY}


@pytest.fixture(scope="module")
def runs(airflow: Airflow) -> dict[ExitCode, str]:
    """One run for each exit code, all at once."""
    for run in RUNS.values():
        airflow.start(run)
    return RUNS


@pytest.mark.parametrize("code", RUNS)
def test_a_stage_is_retried_only_if_a_retry_can_help(
    airflow: Airflow, runs: dict[ExitCode, str], code: ExitCode, record: Record
) -> None:
    task = airflow.ended(runs[code])
    assert task["state"] == "failed"
    assert task["try_number"] == (2 if code in (70, 75) else 1)

    for attempt in range(1, task["try_number"] + 1):
        reason, replay = airflow.log(runs[code], attempt)[-2:]
        assert reason.startswith(f"failed ({int(code)}, {code.meaning}): ")
        assert replay.startswith("to replay this stage by hand: docker run --rm --init --network=none")
        if code == ExitCode.OUT_OF_MEMORY:
            assert "does not fit into 256m of memory: raise PIPELINE_STAGE_MEMORY" in reason
        else:
            assert "as the test asked for" in reason
    assert airflow.remaining_containers(runs[code]) == []
    record(
        f"a stage ends with {int(code)} ({code.meaning})",
        1,
        f"tried {task['try_number']}x, the reason and its replay last in the log",
    )
