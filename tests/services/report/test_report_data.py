import pytest

from services.report.report_data import Move, Point, Trait, read_migration, read_points, read_profile
from stagekit.errors import DataError

HEADER = "segment_id,segment_name,customers,share,feature,median,mean,index,effect,sets_apart\n"


def test_a_profile_without_an_index_is_read_as_none():
    expected = [Trait(1, "BALANCE", median=0.0, mean=None, index=None, sets_apart=1, effect=-0.5)]
    assert read_profile(HEADER + "1,all,3,1.0,BALANCE,0,,,-0.5,1\n") == expected


def test_names_are_read_as_they_were_before_they_were_made_safe_for_spreadsheets():
    assert read_profile(HEADER + "1,all,3,1.0,'=SUM(A1),0,,,,1\n")[0].feature == "=SUM(A1)"
    text = "from_segment_id,from_segment_name,to_segment_id,to_segment_name,customers\n1,'=a,2,'b,7\n"
    assert read_migration(text) == [Move(1, "=a", 2, "'b", 7)]


def test_customers_without_a_segment_come_from_none():
    text = 'from_segment_id,from_segment_name,to_segment_id,to_segment_name,customers\n,,2,"high, wide",7\n'
    assert read_migration(text) == [Move(None, "", 2, "high, wide", 7)]


def test_points_are_numbers():
    assert read_points("x,y,segment_id,silhouette\n-1.5,2e-1,3,0.25\n") == [Point(-1.5, 0.2, 3, 0.25)]


def test_a_table_with_other_columns_is_refused():
    with pytest.raises(DataError, match=r"points\.csv has columns x, y, expected x, y, segment_id, silhouette"):
        read_points("x,y\n1,2\n")
