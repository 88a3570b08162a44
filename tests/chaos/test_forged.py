"""Forged pickles in manifests that agree with them: refused, and nothing of them is executed."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest

from services.pipeline import PIPELINE
from stagekit.volume.artifact import Artifact
from stagekit.volume.manifest import MANIFEST_NAME
from tests.chaos.processes import run
from tests.chaos.volumes import RUN, flags, read_manifest

READ_BY = {
    "extract/customers.pkl": ("transform", "segment"),
    "transform/features.pkl": ("train", "evaluate", "segment"),
    "train/kmeans_custom.sav": ("evaluate",),
    "train/sweep.pkl": ("evaluate", "segment"),
}


class Calls:
    """Pickles into a call."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def named(module: str, name: str, argument: str) -> bytes:
    """Pickle a call of a function by its name, dots and all, as pickle itself would not write it."""
    texts = [pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode() for text in (module, name, argument)]
    return b"".join(
        [pickle.PROTO + b"\x04", *texts[:2], pickle.STACK_GLOBAL, texts[2], pickle.TUPLE1, pickle.REDUCE, pickle.STOP]
    )


def forgeries(trace: Path) -> list[bytes]:
    """Pickles that would make a file or folder `trace` if they were believed."""
    touch = f"touch {trace}"
    return [
        pickle.dumps(Calls(os.mkdir, str(trace))),
        pickle.dumps(Calls(os.system, touch)),
        pickle.dumps(Calls(eval, f"__import__('os').mkdir({str(trace)!r})")),
        pickle.dumps(Calls(exec, f"open({str(trace)!r}, 'w')"), protocol=0),
        pickle.dumps(Calls(pickle.loads, pickle.dumps(Calls(os.mkdir, str(trace))))),
        pickle.dumps({"scaled": [Calls(os.mkdir, str(trace))]}),
        named("os", "mkdir", str(trace)),
        named("posix", "mkdir", str(trace)),
        named("subprocess", "getoutput", touch),
        named("pandas", "io.common.os.mkdir", str(trace)),
        named("numpy", "f2py.os.system", touch),
        named("sklearn.cluster._kmeans", "KMeans.__init__.__globals__", touch),
    ]


def forge(volume: Path, artifact: Artifact, content: bytes) -> str:
    """Put a forgery in the place of an artifact, and make the manifest agree; returns the digest that the manifest had."""
    folder = volume / "runs" / RUN / artifact.stage
    manifest = read_manifest(volume, artifact.stage)
    before = hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest()
    (folder / artifact.name).write_bytes(content)
    change = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    outputs = tuple(one.model_copy(update=change) if one.name == artifact.name else one for one in manifest.outputs)
    (folder / MANIFEST_NAME).write_bytes(manifest.model_copy(update={"outputs": outputs}).to_checksummed_json())
    return before


def agree_downstream(volume: Path, artifact: Artifact, content: bytes) -> None:
    """Make the manifests of later stages list the forgery as their input."""
    sha256 = hashlib.sha256(content).hexdigest()
    for path in (volume / "runs" / RUN).glob(f"*/{MANIFEST_NAME}"):
        manifest = read_manifest(volume, path.parent.name)
        name = f"{artifact.stage}/{artifact.name}"
        inputs = tuple(one.model_copy(update={"sha256": sha256}) if one.name == name else one for one in manifest.inputs)
        path.write_bytes(manifest.model_copy(update={"inputs": inputs}).to_checksummed_json())


@pytest.mark.parametrize(("name", "reader"), [(name, reader) for name, readers in READ_BY.items() for reader in readers])
def test_a_forged_pickle_whose_manifest_agrees_is_refused_and_nothing_of_it_runs(volume, tmp_path, name, reader, tries, record):
    artifact = next(one for one in PIPELINE[name.split("/")[0]].writes if name == f"{one.stage}/{one.name}")
    trace = tmp_path / "executed"
    every = forgeries(trace)
    tried = every[:: tries(6, 1)]
    true_digest = None
    for content in tried:
        digest = forge(volume, artifact, content)
        true_digest = true_digest or digest
        agree_downstream(volume, artifact, content)
        code, log = run(volume, reader, *flags(reader))
        assert code == 65, log
        assert "cannot be unpickled" in log.splitlines()[-1]
        assert "which this pipeline never writes" in log.splitlines()[-1]
        code, log = run(volume, reader, *flags(reader), f"--upstream={artifact.stage}={true_digest}")
        assert code == 65, log
        assert f"the manifest of {artifact.stage} has sha256" in log.splitlines()[-1]
        assert not trace.exists()
    record(
        "forged pickle, the manifest made to agree",
        2 * len(tried),
        "65: by hand because of the allow-list, in Airflow because of the digest; nothing of it was executed",
    )
