"""The file of new customers, which `evaluate` reads: one that the user named is checked by the first stage."""

import pytest

from stagekit.errors import DataError, MissingInputError
from tests.services.extract.runs import extract

TABLE = "CUST_ID,BALANCE,PURCHASES\nA,1,2\n"


@pytest.fixture
def volume(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file.csv").write_text(TABLE)
    return tmp_path


def test_the_default_file_need_not_be_there(volume):
    assert extract(volume)[0]["customers"] == 1


def test_a_file_that_was_named_has_to_be_there(volume):
    with pytest.raises(MissingInputError, match=r"there is no file data/new\.csv on the volume"):
        extract(volume, test_file="data/new.csv")


@pytest.mark.parametrize(("settings", "missing"), [({}, "PURCHASES"), ({"group_column": "REGION"}, "REGION")])
def test_a_file_that_was_named_needs_the_columns_of_the_features_and_groups(volume, settings, missing):
    (volume / "data/new.csv").write_text("CUST_ID,BALANCE,PURCHASES\n" if settings else "CUST_ID,BALANCE\n")
    with pytest.raises(DataError, match=rf"new\.csv row 1: column '{missing}' is missing"):
        extract(volume, test_file="data/new.csv", **settings)


def test_rows_of_a_file_that_was_named_are_left_to_evaluate(volume):
    (volume / "data/new.csv").write_text("CUST_ID,BALANCE,PURCHASES\nB,x,y\n")
    assert extract(volume, test_file="data/new.csv")[0]["customers"] == 1
