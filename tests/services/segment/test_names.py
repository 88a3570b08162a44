from pathlib import Path

import pytest

from services.segment.names import is_fitting, make_names, name_key, name_warnings, read_names, rename_notes
from services.segment.profiles import FeatureProfile, Profile
from stagekit.errors import DataError


def profile(**effects: float) -> Profile:
    """A profile by effects, the first trait sets it apart most."""
    return Profile(10, tuple(FeatureProfile(name, 0.0, 0.0, 100.0, effect) for name, effect in effects.items()))


RICH = profile(BALANCE=1.0, PURCHASES=-0.5, CREDIT_LIMIT=0.0)


def names(profiles: list[Profile], known: dict[int, str] | None = None, user: dict[int, str] | None = None) -> list[str]:
    return make_names(profiles, range(1, len(profiles) + 1), known or {}, user or {})


def test_a_name_consists_of_the_most_distinguishing_features():
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


@pytest.mark.parametrize(
    "other",
    [
        "Low purchases,  High balance",
        "high-balance; low purchases",
        "high balance,low\u00a0purchases.",
        "ＨＩＧＨ balance, low purchases",
        "‘high’ balance, “low” purchases!",
    ],
)
def test_names_that_differ_in_case_blanks_or_punctuation_look_alike(other):
    assert name_key(other) == name_key("high balance, low purchases")
    assert names([RICH, RICH], user={2: other})[0] == "high balance, low purchases, average credit limit"


def test_names_of_punctuation_alone_are_distinct():
    assert name_key("★") != name_key("♥")


def test_a_segment_keeps_its_name_while_its_phrases_fit():
    known = "high balance, low purchases, average credit limit"
    assert names([profile(PURCHASES=-2, CREDIT_LIMIT=0.4, BALANCE=0.1)], known={1: known}) == [known]


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("high balance", True),
        ("high balance (12)", True),
        ("very high balance", True),
        ("low purchases", True),
        ("very low purchases", False),
        ("average credit limit", True),
        ("high credit limit", False),
        ("low balance", False),
        ("average balance", False),
        ("high cash advance", False),
        ("average customers", False),
        ("few purchases", False),
        ("", False),
    ],
)
def test_a_name_fits_as_long_as_no_phrase_contradicts_the_segment(name, fits):
    assert is_fitting(name, RICH) is fits


def test_the_name_of_segment_9_is_replaced_and_the_note_contains_the_former_name():
    # Seen on a new table: the credit limit has index 50, the balance index 8.
    features = [FeatureProfile(*values) for values in (("BALANCE", 0, 0, 8, -0.7), ("CREDIT_LIMIT", 0, 0, 50, -0.5))]
    nine = Profile(10, (*features, FeatureProfile("PURCHASES", 0, 0, 130, 0.3)))
    former = "very many purchases, high credit limit, high balance"
    (name,) = make_names([nine], [9], {9: former}, {})
    assert name == "low balance, low credit limit"
    assert list(rename_notes({9: name}, {9: former, 1: "gone"}, {})) == [
        "segment 9 is now called 'low balance, low credit limit', "
        "formerly 'very many purchases, high credit limit, high balance'"
    ]


def test_a_users_name_stays_with_a_warning_if_it_contradicts_the_segment():
    user_names = {1: "Rich: High Balance, high purchases", 2: "b"}
    assert names([RICH, RICH], user=user_names) == list(user_names.values())
    assert list(name_warnings(user_names, {1: RICH, 2: RICH}, {1, 2})) == [
        "the names file calls segment 1 'Rich: High Balance, high purchases', but PURCHASES is low there: "
        "the name is kept; change it if it misleads"
    ]
    assert list(rename_notes(user_names, {1: "a", 2: "c"}, user_names)) == []


def test_ids_in_the_names_file_that_no_run_has_given_are_warned_of():
    assert list(name_warnings({1: "a", 2: "b"}, {}, {1, 2, 3})) == []
    assert list(name_warnings({2: "b", 999: "c"}, {}, {1, 2, 3})) == [
        "the names file names 1 segment that no run has made (999): correct segment_id; "
        "the ids of this and earlier runs go from 1 to 3"
    ]


def test_the_name_of_a_vanished_segment_is_not_given_again():
    assert names([RICH], known={9: "High balance, low purchases"}) == ["high balance, low purchases, average credit limit"]


def test_the_users_names_take_precedence():
    assert names([RICH, RICH], known={1: "high balance", 2: "two"}, user={2: "Transactors", 7: "other"}) == [
        "high balance",
        "Transactors",
    ]


def test_a_known_name_that_the_user_gives_to_another_segment_gets_a_number():
    known = {1: "high balance", 2: "low purchases"}
    assert names([RICH, RICH], known=known, user={2: "High balance"}) == ["high balance (1)", "High balance"]
    assert names([RICH, RICH], known=known | {9: "high balance 1"}, user={2: "High balance"})[0] == "high balance (1-2)"


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
        (b"segment_id,name\n1,a\n1,b\n", "row 3: segment_id 1 occurs twice"),
        (b"segment_id,name\n1,a\n2,A\n", "row 3: name 'A' looks like 'a' of segment 1"),
        (b"segment_id,name\n1,\n", "row 2: name is '', expected 1 to 80 printable characters"),
        (b"segment_id,name\n1," + b"x" * 81 + b"\n", "row 2: name is 'xxxx"),
        (b"segment_id,name\n1,a\x07b\n", "row 2: name is 'a.*', expected"),
        (b"segment_id,name\n1,a,b\n", "row 2: too many or too few fields"),
        (b"segment_id,name\n1\n", "row 2: too many or too few fields"),
        (b'segment_id,name\n1,"a\n', "row 2: .*: is a quote not closed?"),
        (b"segment_id,name\n1,\xe9\n", "byte 0xe9 is not UTF-8"),
    ],
)
def test_a_bad_names_file_is_refused_with_its_row(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as error:
        read_names(write(tmp_path, content))
    assert str(error.value).startswith("names.csv")
