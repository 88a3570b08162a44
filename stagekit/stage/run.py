"""The one way in which a stage starts and ends, be it a container, a task of Airflow or a process on a laptop.

Settings come in, the stage's `main(settings, work)` runs, and whatever it returns is the result: one line of JSON, the only
thing on stdout. Everything else is said on stderr, in lines. Every failure ends in one line and an exit code (`errors.py`).
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
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from services.contract.settings import StageSettings, settings_model
from stagekit.errors import (
    ExitCode,
    OutOfMemoryError,
    StageError,
    TransientError,
    from_os_error,
)
from stagekit.stage.command_line import parse, sources

MANIFEST_LINE = "manifest sha256:"
"""Begins the line on stderr by which a stage reports the digest of its manifest; Airflow hands it downstream."""

log = logging.getLogger(__name__)


class StageFormatter(logging.Formatter):
    """Marks warnings and errors by name. The last line of a failure needs no mark: it begins with `failed (<code>, `."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        """Format the line of a record, without its traceback."""
        if record.levelno >= logging.WARNING and not record.message.startswith("failed ("):
            record.message = f"{record.levelname}: {record.message}"
        return super().formatMessage(record)


def run_stage(
    stage: str,
    settings: type[StageSettings] | None = None,
    module: str | None = None,
    work: Callable[[str, str, Any, dict[str, str]], Any] | None = None,
) -> NoReturn:
    """Run a stage as this process; `settings`, `module` and `work` are for what an image does besides its stage of a run."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    logging.getLogger().handlers[0].setFormatter(StageFormatter(f"%(asctime)s {stage}: %(message)s", datefmt="%H:%M:%S"))
    logging.captureWarnings(capture=True)
    os.umask(0o007)  # other members of the group can replace what this user writes; other users cannot even read it
    # Threads that spin while they wait for work collapse as soon as a neighbour needs their core.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _exit_on_sigterm()
    atexit.register(gc.freeze)  # else Python looks for garbage once more, in all that it has loaded, which takes 0.3 s
    sys.exit(_run(stage, settings or settings_model(stage), module or f"services.{stage}.main", sys.argv[1:], work))


def _run(
    stage: str,
    model: type[StageSettings],
    module: str,
    arguments: list[str],
    work: Callable[[str, str, Any, dict[str, str]], Any] | None = None,
) -> int:
    try:
        settings = parse(model, arguments, prog=f"python -m {module.rpartition('.')[0]}")
        result = (work or _work)(stage, module, settings, sources(settings, arguments))
    except Exception as error:
        return _explain(error)
    sys.stderr.flush()
    print(json.dumps(result), flush=True)
    return ExitCode.SUCCESS


def _work(stage: str, module: str, settings: StageSettings, setting_sources: dict[str, str]) -> Any:
    # Imported only now, as pandas and scikit-learn are below, so that --help and a wrong setting do not wait for them.
    from stagekit.volume.manifest import Manifest, installed_versions
    from stagekit.volume.workspace import Workspace

    started = datetime.now(UTC)
    with Workspace(settings.volume, settings.run, stage, settings.upstream) as work:
        main = importlib.import_module(module).main
        result = main(settings, work)
        digest = work.commit(
            Manifest(
                run=settings.run,
                stage=stage,
                inputs=tuple(work.inputs),
                outputs=tuple(work.outputs),
                settings=settings.model_dump(mode="json", exclude={"volume", "run", "upstream"}),
                setting_sources=setting_sources,
                decisions=work.decisions,
                result=result,
                image=os.environ.get("SEGMENTATION_IMAGE"),
                versions=installed_versions(),
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


def work_alone(stage: str, module: str, settings: StageSettings, setting_sources: dict[str, str]) -> Any:  # noqa: ARG001
    """Run `main(settings)` of what is no stage of a run: it has no folder in one, and writes no manifest."""
    return importlib.import_module(module).main(settings)


def _peak_memory_mib() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # in which ru_maxrss counts
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(most * unit / 2**20)


def _explain(error: Exception) -> ExitCode:
    """Say in one line what ended the stage; only a defect of ours gets a traceback."""
    if isinstance(error, MemoryError):
        error = OutOfMemoryError("the data does not fit into memory: raise the memory limit of this stage")
    elif isinstance(error, OSError):
        error = from_os_error(error)
    if not isinstance(error, StageError):
        log.error("this is a defect of the stage, please report it with the traceback", exc_info=error)
        error = StageError(f"{type(error).__name__}: {error}")
    code = ExitCode(error.exit_code)
    log.error("failed (%d, %s): %s", code, code.meaning, " ".join(str(error).split()))
    return code


def _exit_on_sigterm() -> None:
    """Turn SIGTERM into exit code 75 at once.

    A handler would have to wait until scikit-learn's compiled code returns; a thread that waits for the signal does not.
    Nothing has to be tidied up: what is not committed does not count, and the next try removes it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        code = _explain(TransientError("was told to stop (SIGTERM); run it again"))
        sys.stderr.flush()
        os._exit(code)

    threading.Thread(target=wait, daemon=True, name="sigterm").start()
