"""Flipped bits and cut-off files: found before anything is unpickled, or without any effect."""

import random
from collections import Counter
from pathlib import Path

import pytest

from services.pipeline import PIPELINE
from stagekit.errors import DataError
from stagekit.volume.formats import PickleFormat
from stagekit.volume.manifest import MANIFEST_NAME
from stagekit.volume.model_store import ModelStore
from stagekit.volume.upstream import UpstreamResults
from tests.chaos.processes import run
from tests.chaos.volumes import RUN, artifacts_of, flags, read_manifest

READERS = {"extract": "transform", "transform": "train", "train": "evaluate", "evaluate": "segment", "segment": "report"}


@pytest.fixture
def unpickled(monkeypatch) -> list[str]:
    """The names of what was unpickled."""
    names = []

    load = PickleFormat.load

    def record_and_load(self, file, name):
        names.append(name)
        return load(self, file, name)

    monkeypatch.setattr(PickleFormat, "load", record_and_load)
    return names


def damage(path: Path, seed: random.Random) -> None:
    """Flip a bit of a file or cut it off, once in four times."""
    content = bytearray(path.read_bytes())
    if seed.random() < 0.25:
        del content[seed.randrange(len(content)) :]
    else:
        content[seed.randrange(len(content))] ^= 1 << seed.randrange(8)
    path.write_bytes(content)


def try_damage(path: Path, seed: random.Random, n_tries: int, use) -> Counter[str]:
    """Damage a file again and again; returns how often `use` refused it and how often it was none the worse."""
    whole = path.read_bytes()
    expected = use()
    outcomes: Counter[str] = Counter()
    for _ in range(n_tries):
        damage(path, seed)
        try:
            assert use() == expected
            outcomes["no effect"] += 1
        except DataError:
            outcomes["refused"] += 1
        finally:
            path.write_bytes(whole)
    return outcomes


def test_damage_to_an_artifact_is_found_before_it_is_unpickled(volume, unpickled, tries, record):
    seed, outcomes = random.Random(7), Counter()
    every = [artifact for stage in PIPELINE.stage_names for artifact in artifacts_of(volume, stage)]
    n_tries = tries(3, 100)
    for artifact in every:
        work = UpstreamResults(volume, RUN, {})
        work.load(artifact)
        unpickled.clear()

        def load(work=work, artifact=artifact):
            work.load(artifact)
            return "read"

        path = volume / "runs" / RUN / artifact.stage / artifact.name
        outcomes += try_damage(path, seed, n_tries, lambda path=path, load=load: load() and path.read_bytes())
        assert len(unpickled) == (1 if path.suffix in (".pkl", ".sav") else 0), "only the undamaged file was unpickled"
    assert outcomes == {"refused": n_tries * len(every)}
    record(f"bit flipped or cut off: {len(every)} artifacts", n_tries * len(every), "all refused with 65 before unpickling")


def test_damage_to_a_manifest_is_found_or_has_no_effect(volume, tries, record):
    seed, outcomes = random.Random(7), Counter()
    n_tries = tries(5, 60)
    for stage in PIPELINE.stage_names:
        path = volume / "runs" / RUN / stage / MANIFEST_NAME
        outcomes += try_damage(path, seed, n_tries, lambda stage=stage: UpstreamResults(volume, RUN, {}).manifest(stage))
    record(
        "bit flipped or cut off: 6 manifests",
        n_tries * 6,
        f"{outcomes['refused']} refused with 65, {outcomes['no effect']} without effect",
    )


def test_damage_to_what_is_published_is_found_or_has_no_effect(volume, tries, record):
    seed, model = random.Random(7), ModelStore(volume, PIPELINE)
    n_tries = tries(5, 120)
    outcomes = try_damage(volume / "model/segments.json", seed, n_tries, model.read_registry)
    record(
        "bit flipped or cut off: the register",
        n_tries,
        f"{outcomes['refused']} refused with 65, {outcomes['no effect']} without effect",
    )
    entry = model.read_registry().entry(RUN)
    for published in entry.publication.files:

        def read(name=published.name):
            with model.open(entry, name)[0] as file:
                return file.read()

        path = volume / "model/published" / entry.publication.folder / published.name
        assert try_damage(path, seed, n_tries, read) == {"refused": n_tries}
    record(
        f"bit flipped or cut off: {len(entry.publication.files)} published files",
        n_tries * len(entry.publication.files),
        "all refused with 65",
    )


@pytest.mark.parametrize(("stage", "reader"), READERS.items())
def test_a_stage_whose_input_is_damaged_ends_with_65_and_names_the_stage_to_run_again(volume, stage, reader, tries):
    seed = random.Random(stage)
    for output in read_manifest(volume, stage).outputs:
        path = volume / "runs" / RUN / stage / output.name
        whole = path.read_bytes()
        damage(path, seed)
        code, log = run(volume, reader, *flags(reader))
        if code:  # this reader may not need this file
            assert code == 65, log
            assert f"{stage}/{output.name} has sha256" in log
            assert f"run {stage} again" in log.splitlines()[-1]
        path.write_bytes(whole)
