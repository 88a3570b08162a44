"""The check of spelling and wording finds what it is for."""

from pathlib import Path

import pytest

from docs.style.check_wording import main


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Normalize the rows.", "Normalise"),
        ("Recieve a file.", "Receive"),
        ("It is not known to whoever reads it.", "name the actor"),
        ("A customer who is listed further\n# down", "later"),
        ("def tell_of_failure(): ...", "return, report"),
    ],
)
def test_american_spelling_typing_errors_and_banned_phrases_are_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    (tmp_path / "text.py").write_text(text + "\n")
    assert main([str(tmp_path / "text.py")])
    assert expected in capfd.readouterr().out


def test_standard_wording_and_names_of_libraries_pass(tmp_path: Path) -> None:
    (tmp_path / "text.md").write_text('The colour is `color="red"`. The key was `in force` before; it is active now.\n')
    assert not main([str(tmp_path / "text.md")])
