from pathlib import Path

import pytest

from services.segment.names import make_names, name_warnings, read_names
from services.segment.profiles import FeatureProfile, Profile
from stagekit.errors import DataError


def profile(**effects: float) -> Profile:
    """A profile by effects, the first trait sets it apart most."""
    return Profile(10, tuple(FeatureProfile(name, 0.0, 0.0, 100.0, effect) for name, effect in effects.items()))


RICH = profile(BALANCE=1.0, PURCHASES=-0.5, CREDIT_LIMIT=0.0)


def names(profiles: list[Profile], known: dict[int, str] | None = None, chosen: dict[int, str] | None = None) -> list[str]:
    return make_names(profiles, range(1, len(profiles) + 1), known or {}, chosen or {})


def test_a_name_says_what_sets_the_segment_apart_most():
    assert names([RICH]) == ["high balance, low purchases"]
    assert names([profile(PURCHASES=3, CREDIT_LIMIT=-2)]) == ["very high purchases, very low credit limit"]


def test_what_is_average_in_everything_is_called_so():
    assert names([profile(BALANCE=0.0, PURCHASES=0.1)]) == ["average customers"]


def test_two_segments_never_have_the_same_name():
    poorer = profile(BALANCE=0.9, PURCHASES=-0.6, CREDIT_LIMIT=-0.3)
    assert names([RICH, poorer, RICH, RICH]) == [
        "high balance, low purchases",
        "high balance, low purchases, low credit limit",
        "high balance, low purchases, average credit limit",
        "high balance, low purchases (4)",
    ]


def test_a_name_has_no_empty_part():
    spender = profile(PURCHASES=3)
    assert names([spender, spender]) == ["very high purchases", "very high purchases (2)"]


def test_the_same_parts_in_another_order_are_the_same_name():
    reverse = profile(PURCHASES=-1.0, BALANCE=0.5, CREDIT_LIMIT=0.0)
    assert names([RICH, reverse, reverse]) == [
        "high balance, low purchases",
        "low purchases, high balance, average credit limit",
        "low purchases, high balance (3)",
    ]


def test_names_that_look_alike_in_the_registry_stay():
    known = {1: "few purchases, high balance", 2: "high balance, few purchases"}
    assert names([RICH, RICH], known=known) == list(known.values())


def test_ids_in_the_names_file_that_no_run_has_given_are_warned_of():
    assert list(name_warnings({1: "a", 2: "b"}, {1, 2, 3})) == []
    assert list(name_warnings({2: "b", 999: "c"}, {1, 2, 3})) == [
        "the names file names 1 segment that no run has made (999): correct segment_id; "
        "the ids of this and earlier runs go from 1 to 3"
    ]


def test_a_segment_keeps_its_name_though_its_profile_changes():
    assert names([RICH], known={1: "low balance"}) == ["low balance"]


def test_the_name_of_a_vanished_segment_is_not_given_again():
    assert names([RICH], known={9: "High balance, low purchases"}) == ["high balance, low purchases, average credit limit"]


def test_the_users_names_go_before_ours():
    assert names([RICH, RICH], known={1: "one", 2: "two"}, chosen={2: "Transactors", 7: "nobody"}) == ["one", "Transactors"]


def test_a_name_that_the_user_gives_to_another_segment_is_told_apart():
    assert names([RICH, RICH], known={1: "savers", 2: "two"}, chosen={2: "Savers"}) == ["savers (1)", "Savers"]


def test_a_name_with_its_number_is_nobody_else_s_either():
    assert names([RICH, RICH], known={1: "savers", 9: "savers (1)", 2: "two"}, chosen={2: "Savers"}) == [
        "savers (1)'",
        "Savers",
    ]


def test_long_column_names_make_no_endless_names():
    long = profile(**{"A" * 70: 1.0, "B" * 70: 1.0})
    assert names([long, long, long])[2].endswith(" (3)")
    assert len(set(names([long, long, long]))) == 3


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "names.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b'segment_id,name\n1,Savers\n12,"Big, loyal"\n',
        b'\xef\xbb\xbfname,segment_id,remark\r\n  Savers ,1,x\r\n"Big,  loyal", 12 ,y\r\n\r\n',
    ],
)
def test_a_names_file_is_read(tmp_path, content):
    assert read_names(write(tmp_path, content)) == {1: "Savers", 12: "Big, loyal"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "row 1: column 'name' is missing; it has nothing"),
        (b"segment;name\n1;a\n", "row 1: column 'name' is missing"),
        (b"segment_id,name\n1,a\nx,b\n", "row 3: segment_id is 'x', expected a number from 1"),
        (b"segment_id,name\n0,a\n", "row 2: segment_id is '0'"),
        (b"segment_id,name\n-1,a\n", "row 2: segment_id is '-1'"),
        (b"segment_id,name\n" + b"9" * 5000 + b",a\n", "row 2: segment_id is '9999"),
        (b"segment_id,name\n1,a\n1,b\n", "row 3: segment_id 1 stands twice"),
        (b"segment_id,name\n1,a\n2,A\n", "row 3: name 'A' stands twice"),
        (b"segment_id,name\n1,\n", "row 2: name is '', expected 1 to 80 characters"),
        (b"segment_id,name\n1," + b"x" * 81 + b"\n", "row 2: name is 'xxxx"),
        (b"segment_id,name\n1,a\x07b\n", "row 2: name is 'a.*', expected"),
        (b"segment_id,name\n1,a,b\n", "row 2: too many or too few fields"),
        (b"segment_id,name\n1\n", "row 2: too many or too few fields"),
        (b'segment_id,name\n1,"a\n', "row 2: .*: is a quote left open?"),
        (b"segment_id,name\n1,\xe9\n", "byte 0xe9 is not UTF-8"),
    ],
)
def test_a_bad_names_file_is_refused_with_its_row(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as error:
        read_names(write(tmp_path, content))
    assert str(error.value).startswith("names.csv")
