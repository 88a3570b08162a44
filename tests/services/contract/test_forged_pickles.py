"""Forged pickles against the allow-list of the pipeline: each is refused, and nothing of it is executed."""

import io
import os
import pickle
from pathlib import Path

import pytest

from services.contract.artifacts import PICKLE
from services.pipeline import PIPELINE
from stagekit.errors import DataError


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


def test_a_forged_pickle_is_refused_and_nothing_of_it_runs(tmp_path):
    trace = tmp_path / "executed"
    for content in forgeries(trace):
        with pytest.raises(DataError, match=r"features\.pkl cannot be unpickled: .* which this pipeline never writes"):
            PICKLE.load(io.BytesIO(content), "features.pkl")
        assert not trace.exists()


def test_every_pickle_of_the_pipeline_has_this_allow_list():
    written = [artifact for stage in PIPELINE.stages for artifact in stage.writes]
    pickles = [artifact for artifact in written if artifact.name.endswith((".pkl", ".sav"))]
    assert {artifact.format for artifact in pickles} == {PICKLE}
    assert len(pickles) > 3
