"""A stage for tests: its run id decides how it ends.

An exit code: with that. `memory`: with too little of it. `wait-...`: when it is released. `brief-...`: after 2 s.
"""

import time
from pathlib import Path
from typing import Any

from stagekit.errors import ExitCode, StageError
from stagekit.settings import StageSettings
from stagekit.volume.workspace import Workspace


def main(settings: StageSettings, work: Workspace) -> Any:
    kind, _, _ = settings.run.partition("-")
    if kind == "memory":
        hoard = []
        while True:
            hoard.append(bytearray(2**20))
    if kind == "wait":
        released = Path(settings.volume, "data", f"release-{settings.run}")
        while not released.exists():
            time.sleep(0.1)
        return "released"
    if kind == "brief":
        time.sleep(2)
        return "done"
    if int(kind) == ExitCode.INTERNAL_ERROR:
        raise ZeroDivisionError("as the test asked for")
    raise next(error for error in StageError.__subclasses__() if error.exit_code == int(kind))("as the test asked for")
