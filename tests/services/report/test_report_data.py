import pytest

from services.contract.results import DESCRIPTION_COLUMNS, POINTS_COLUMNS, DescriptionRow, MigrationRow, SamplePoint
from services.report.report_data import read_rows
from stagekit.errors import DataError

MIGRATION_HEADER = "from_segment_id,from_segment_name,to_segment_id,to_segment_name,customers\n"


def test_empty_cells_are_none_and_yes_is_true():
    text = ",".join(DESCRIPTION_COLUMNS) + "\n1,BALANCE,,yes,3,0.5,,,,,-0.5,1\n"
    expected = DescriptionRow(1, "BALANCE", None, True, 3, 0.5, None, None, None, None, -0.5, 1)
    assert read_rows(DescriptionRow, text, "description.csv") == [expected]


def test_names_are_read_without_the_escape_for_spreadsheets():
    assert read_rows(MigrationRow, MIGRATION_HEADER + "1,'=a,2,'b,7\n", "migration.csv") == [MigrationRow(1, "=a", 2, "'b", 7)]


def test_customers_without_a_segment_have_no_id():
    rows = read_rows(MigrationRow, MIGRATION_HEADER + ',,2,"high, wide",7\n', "migration.csv")
    assert rows == [MigrationRow(None, None, 2, "high, wide", 7)]


def test_a_table_with_other_columns_is_an_error():
    with pytest.raises(
        DataError, match=r"points\.csv has columns x, y, expected x, y, segment_id, silhouette: run segment again"
    ):
        read_rows(SamplePoint, "x,y\n1,2\n", "points.csv")


def test_a_value_of_another_type_is_an_error():
    with pytest.raises(DataError, match=r"points\.csv cannot be read \(0\.x: .*\): run segment again"):
        read_rows(SamplePoint, ",".join(POINTS_COLUMNS) + "\nabc,2,1,0.5\n", "points.csv")
