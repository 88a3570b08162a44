import io
import os
import pickle

import pytest

from stagekit.errors import DataError
from stagekit.volume.formats import PickleFormat
from tests.stagekit.declaration import PICKLE


def load(value):
    return PICKLE.load(io.BytesIO(pickle.dumps(value)), "sweep.pkl")


def test_a_pickle_has_no_default_allow_list():
    with pytest.raises(TypeError, match="allowed"):
        PickleFormat(libraries=())


def test_artifacts_of_the_pipeline_are_read():
    assert load({2: [slice(1, 2, 3), "text", 1.5]}) == {2: [slice(1, 2, 3), "text", 1.5]}


@pytest.mark.parametrize(("value", "name"), [(os.system, "posix.system"), (print, "builtins.print")])
def test_a_name_that_the_pipeline_never_writes_is_rejected_with_the_file_and_the_remedy(value, name):
    with pytest.raises(DataError) as refused:
        load(value)
    assert str(refused.value) == (
        f"sweep.pkl cannot be unpickled: it names {name}, which this pipeline never writes; run the stage that writes it again"
    )


def test_want_of_memory_is_no_fault_of_the_file():
    class Full(io.BytesIO):
        def read(self, _size=-1):
            raise MemoryError

        readinto = readline = read

    with pytest.raises(MemoryError):
        PICKLE.load(Full(), "sweep.pkl")
