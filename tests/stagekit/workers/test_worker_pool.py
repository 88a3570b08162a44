"""The worker pool: processes for large inputs, and their end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from stagekit.errors import DataError, OutOfMemoryError
from stagekit.workers import worker_pool as module
from stagekit.workers.worker_pool import worker_pool

MUCH = module._PROCESS_POOL_MIN_BYTES
pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core has no use for processes")


def process_of(_: int) -> int:
    return os.getpid()


def fail(number: int) -> None:
    raise DataError(f"row {number} is wrong")


def be_killed(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_little_is_worked_on_here_and_much_by_other_processes():
    with worker_pool(n_bytes=MUCH - 1) as pool:
        assert set(pool.map(process_of, range(4))) == {os.getpid()}
    with worker_pool(n_bytes=MUCH) as pool:
        assert os.getpid() not in set(pool.map(process_of, range(4)))


def test_an_error_comes_back_as_it_was():
    with pytest.raises(DataError, match="row 7 is wrong"), worker_pool(n_bytes=MUCH) as pool:
        list(pool.map(fail, [7]))


def test_a_process_that_the_kernel_killed_is_a_matter_of_memory():
    with pytest.raises(OutOfMemoryError, match="raise the memory limit"), worker_pool(n_bytes=MUCH) as pool:
        list(pool.map(be_killed, [0]))


def test_processes_end_with_the_stage_however_that_ended():
    code = (
        "from stagekit.workers.worker_pool import worker_pool\n"
        "import os, time\n"
        f"with worker_pool(n_bytes={MUCH}) as pool:\n"
        "    print(*pool.map(int, [1]), flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as stage:
        stage.stdout.readline()
        stage.kill()
        stage.wait()
    ends = time.monotonic() + 10
    while True:
        try:
            os.killpg(stage.pid, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < ends, "a process of the stage is still there"
        time.sleep(0.05)
