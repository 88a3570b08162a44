"""The one way in which a stage starts and ends, as a container, a task of Airflow or a local process.

The stage's `main(settings, work)` returns the result: one line of JSON, the only content of stdout. All logs go to stderr.
Every failure ends with one line and an exit code (`errors.py`).
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import logging
import os
import resource
import signal
import sys
import threading
from datetime import UTC, datetime
from typing import Any, NoReturn

from stagekit.errors import ExitCode, OutOfMemoryError, StageError, TransientError, from_os_error
from stagekit.pipeline import Pipeline, Stage
from stagekit.settings import ENVIRONMENT_PREFIX, StageSettings
from stagekit.stage.command_line import adopt_former_environment, parse, setting_sources

MANIFEST_LINE = "manifest sha256:"
"""Start of the line on stderr in which a stage reports the digest of its manifest; Airflow passes it to downstream stages."""

log = logging.getLogger(__name__)


class StageFormatter(logging.Formatter):
    """Marks warnings and errors by name. The last line of a failure needs no mark: it begins with `failed (<code>, `."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        """Format the line of a record, without its traceback."""
        if record.levelno >= logging.WARNING and not record.message.startswith("failed ("):
            record.message = f"{record.levelname}: {record.message}"
        return super().formatMessage(record)


def run_stage(pipeline: Pipeline, name: str) -> NoReturn:
    """Run a stage as this process and exit with its exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    logging.getLogger().handlers[0].setFormatter(StageFormatter(f"%(asctime)s {name}: %(message)s", datefmt="%H:%M:%S"))
    logging.captureWarnings(capture=True)
    os.umask(0o007)  # other members of the group can replace what this user writes; other users cannot even read it
    # Threads that spin while they wait slow each other down as soon as another process needs their core.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    adopt_former_environment(pipeline.former_environment_prefix)
    _exit_on_sigterm()
    atexit.register(gc.freeze)  # without it Python collects garbage among all loaded libraries at exit, which takes 0.3 s
    sys.exit(_run(pipeline, name, sys.argv[1:]))


def _run(pipeline: Pipeline, name: str, arguments: list[str]) -> int:
    try:
        stage = pipeline[name]
        settings = parse(stage.settings, arguments, prog=f"python -m services.{stage.image}")
        if stage.folder:
            result = _run_in_workspace(pipeline, stage, settings, setting_sources(settings, arguments))
        else:
            result = importlib.import_module(stage.module).main(settings, pipeline)
    except Exception as error:
        return log_failure(error)
    sys.stderr.flush()
    print(json.dumps(result), flush=True)
    return ExitCode.SUCCESS


def _run_in_workspace(pipeline: Pipeline, stage: Stage, settings: StageSettings, sources: dict[str, str]) -> Any:
    # Imported only now, as pandas and scikit-learn are in `main`, so that --help and an invalid setting do not wait for them.
    from stagekit.volume.manifest import Manifest, installed_versions
    from stagekit.volume.workspace import Workspace

    started = datetime.now(UTC)
    with Workspace(pipeline, stage.name, settings.volume, settings.run, settings.upstream) as work:
        main = importlib.import_module(stage.module).main
        result = main(settings, work)
        digest = work.commit(
            Manifest(
                run=settings.run,
                stage=stage.name,
                inputs=work.inputs,
                outputs=work.outputs,
                settings=settings.model_dump(mode="json", exclude={"volume", "run", "upstream"}),
                setting_sources=sources,
                decisions=work.decisions,
                result=result,
                image=os.environ.get(f"{ENVIRONMENT_PREFIX}IMAGE"),
                versions=installed_versions(pipeline.libraries),
                started=started,
                ended=datetime.now(UTC),
                exit_reason=ExitCode.SUCCESS.meaning,
                peak_memory_mib=_peak_memory_mib(),
            )
        )
    for record in work.outputs:
        log.info("wrote %s (%s bytes)", record.name, f"{record.bytes:,}")
    log.info("%s%s", MANIFEST_LINE, digest)
    return result


def _peak_memory_mib() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(peak * unit / 2**20)


def log_failure(error: Exception) -> ExitCode:
    """Log in one line why the stage failed, and return the exit code; only an internal error gets a traceback."""
    if isinstance(error, MemoryError):
        error = OutOfMemoryError("the data does not fit into memory: raise the memory limit of this stage")
    elif isinstance(error, OSError):
        error = from_os_error(error)
    if not isinstance(error, StageError):
        log.error("internal error, please report it with this traceback", exc_info=error)
        error = StageError(f"{type(error).__name__}: {error}")
    code = error.exit_code
    log.error("failed (%d, %s): %s", code, code.meaning, " ".join(str(error).split()))
    return code


def _exit_on_sigterm() -> None:
    """Exit with 75 as soon as SIGTERM arrives.

    A signal handler would have to wait until scikit-learn's compiled code returns; a thread that waits for the signal does not.
    No cleanup is needed: what is not committed does not count, and the next try removes it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        code = log_failure(TransientError("terminated by SIGTERM; run the stage again"))
        sys.stderr.flush()
        os._exit(code)

    threading.Thread(target=wait, daemon=True, name="sigterm").start()
