"""A volume with one run on it, small enough to be run a thousand times, and what may never be seen there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from services.contract.artifacts import PICKLE
from services.pipeline import PIPELINE
from stagekit.volume.artifact import Artifact
from stagekit.volume.files import TEMPORARY_SUFFIX, digest_open_file
from stagekit.volume.manifest import MANIFEST_NAME, Manifest
from stagekit.volume.model_store import ModelStore
from tests.chaos.processes import run

RUN = "demo"
SETTINGS_OF_RUN = {
    "train": ("--k-values=2,3,4", "--n-init=2"),
    "evaluate": ("--n-resamples=2",),
    "segment": ("--publish=always",),
}


def flags(stage: str, run: str = RUN) -> tuple[str, ...]:
    return (f"--run={run}", *SETTINGS_OF_RUN.get(stage, ()))


def write_data(volume: Path, customers: int = 200) -> None:
    """Write the customers of a table, three kinds of them, and some to be labelled."""
    header = "CUST_ID,BALANCE,PURCHASES,CREDIT_LIMIT\n"
    centres = ((100, 50, 1000), (6000, 200, 9000), (900, 7000, 9000))
    rows = [
        f"C{number},{','.join(f'{mean * (0.9 + number * 7919 % 200 / 1000):.2f}' for mean in centres[number % 3])}\n"
        for number in range(customers)
    ]
    (volume / "data").mkdir(parents=True, exist_ok=True)
    (volume / "data/file.csv").write_text(header + "".join(rows))
    (volume / "data/test.csv").write_text(header + rows[0] + rows[1])


def run_pipeline(volume: Path, run_id: str = RUN, until: str = PIPELINE.stage_names[-1]) -> None:
    for stage in PIPELINE.stage_names[: PIPELINE.stage_names.index(until) + 1]:
        code, log = run(volume, stage, *flags(stage, run_id))
        assert code == 0, log


def digests(volume: Path, stage: str) -> dict[str, str]:
    """The sha256 of what a stage of the run has written."""
    return {output.name: output.sha256 for output in read_manifest(volume, stage).outputs}


def read_manifest(volume: Path, stage: str) -> Manifest:
    return Manifest.model_validate_json((volume / "runs" / RUN / stage / MANIFEST_NAME).read_bytes())


def artifacts_of(volume: Path, stage: str) -> Iterator[Artifact]:
    written = digests(volume, stage)
    return (artifact for artifact in PIPELINE[stage].writes if artifact.name in written)


def temporary_files(volume: Path) -> list[Path]:
    folders = ("runs", "model", "history", "scores")
    return [path for folder in folders for path in (volume / folder).rglob(f"*{TEMPORARY_SUFFIX}")]


def check_whole(volume: Path) -> None:
    """Fail unless everything on the volume that has its name for good can be read, and all that is promised is there."""
    for path in finished_files(volume):
        read(path)
    for path in (volume / "runs").rglob(MANIFEST_NAME):
        for output in Manifest.model_validate_json(path.read_bytes()).outputs:
            with path.with_name(output.name).open("rb") as file:
                assert digest_open_file(file, output.name) == output
    model = ModelStore(volume, PIPELINE)
    for entry in model.read_registry().kept_runs():
        for published in entry.publication.files if entry.publication else ():
            model.open(entry, published.name)[0].close()


def finished_files(volume: Path) -> Iterator[Path]:
    for folder in ("runs", "model"):
        for path in (volume / folder).rglob("*"):
            is_temporary = any(part.endswith(TEMPORARY_SUFFIX) for part in path.parts)
            if path.is_file() and not path.name.endswith(".lock") and not is_temporary:
                yield path


def read(path: Path) -> None:
    match path.suffix:
        case ".json":
            json.loads(path.read_bytes())
        case ".csv":
            assert path.read_text(encoding="utf-8").endswith("\n"), f"{path} is cut off"
        case ".html":
            assert path.read_text(encoding="utf-8").rstrip().endswith("</html>"), f"{path} is cut off"
        case _:
            with path.open("rb") as file:
                PICKLE.load(file, path.name)
