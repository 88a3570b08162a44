import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagekit.tables.csv_injection import escape_formula, unescape

FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://x","y")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\nx",
    "\0x",
    "＝1+1",
    "＋1",
    "－1",
    "＠SUM(1)",
    "  =1",
    "'=1",
    "+49 170 1234567",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe(text):
    assert escape_formula(text) == "'" + text


@pytest.mark.parametrize(
    "text", ["C10001", "-5", "+5", "-5.25", "-5,25", "0012", "", "a=b", "O'Brien", "'quoted'", "high balance, few purchases"]
)
def test_numbers_and_plain_words_are_not_changed(text):
    assert escape_formula(text) == text


@given(st.text(alphabet="'=+-@＝\t\r\n 1a"), st.text(alphabet="'=+-@＝\t\r\n 1a"))
def test_two_texts_never_become_the_same(one, other):
    assert one == other or escape_formula(one) != escape_formula(other)


@given(st.text())
def test_nothing_but_an_apostrophe_is_added(text):
    assert escape_formula(text) in (text, "'" + text)


@given(st.text(alphabet="'=+-@＝\t\r\n 1a"))
def test_escaped_texts_can_be_unescaped(text):
    assert unescape(escape_formula(text)) == text
