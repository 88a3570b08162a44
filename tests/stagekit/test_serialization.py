"""How values are written as text, and that they are read back as what they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagekit.serialization import parse_list, parse_mapping, to_flag, to_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([2, 3, 4], "2,3,4"),
        (("BALANCE",), "BALANCE"),
        ([], ""),
        (["a,b", "c"], '["a,b", "c"]'),
        ([" blank"], '[" blank"]'),
        ({"extract": "ab", "train": "cd"}, "extract=ab,train=cd"),
        (True, "true"),
        (False, "false"),
        (0.5, "0.5"),
        (3.0, "3"),
        (1e22, "10000000000000000000000"),
        (7, "7"),
        ("data/file.csv", "data/file.csv"),
    ],
)
def test_a_value_is_written_as_people_write_it_where_that_can_be_read_again(value, text):
    assert to_text(value) == text


@given(st.lists(st.text(min_size=1)))
def test_whatever_a_list_holds_is_read_as_it_was_written(names):
    assert parse_list(to_text(names)) == names


@pytest.mark.parametrize("value", [None, 5, ["a"], ("a", "b")])
def test_what_is_no_text_is_left_alone(value):
    assert parse_list(value) is value
    assert parse_mapping(value) is value


@pytest.mark.parametrize(
    ("text", "values"),
    [("[2, 3]", [2, 3]), ("[a, b]", ["a", "b"]), ("a , 'b',\"c\"", ["a", "b", "c"]), ("  ", []), ("a,,b", ["a", "", "b"])],
)
def test_lists_are_taken_with_and_without_brackets_quotes_and_blanks(text, values):
    assert parse_list(text) == values


def test_pairs_are_taken_with_blanks_around_and_a_comma_too_many():
    assert parse_mapping(" extract=ab , train=c=d,, ") == {"extract": "ab", "train": "c=d"}


@pytest.mark.parametrize(("value", "flag"), [(True, "--is-on"), (False, "--no-is-on"), ([1, 2], "--is-on=1,2")])
def test_a_switch_is_a_flag_with_or_without_no_and_everything_else_has_a_value(value, flag):
    assert to_flag("is_on", value) == flag
