"""Check the wording of files: British spelling, typing errors, and the phrases of `banned_phrases.txt`."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import codespell_lib

AMERICAN = Path(codespell_lib.__file__).parent / "data/dictionary_en-GB_to_en-US.txt"
BANNED = Path(__file__).with_name("banned_phrases.txt")


def check_spelling(files: list[str]) -> bool:
    """Report typing errors and American spellings with codespell; exceptions are in `pyproject.toml`.

    Returns
    -------
    bool
        Whether all files pass.
    """
    pairs = [line.split("->") for line in AMERICAN.read_text().splitlines()]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as british:
        british.writelines(f"{american.strip(' ,')}->{word}\n" for word, american in pairs)
        british.flush()
        command = [sys.executable, "-m", "codespell_lib", f"--dictionary={british.name}", "--dictionary=-", *files]
        return subprocess.run(command).returncode == 0


def read_banned() -> list[tuple[re.Pattern[str], str]]:
    """Read the banned phrases as patterns, each with its replacement."""
    lines = [line for line in BANNED.read_text().splitlines() if not line.startswith("#")]
    pairs = [re.split(r"\s+-> ", line, maxsplit=1) for line in lines]
    patterns = [rf"(?<![a-z.-])(?:{phrase})(?![a-z])".replace(" ", r"[\s#]+") for phrase, _ in pairs]
    return [(re.compile(pattern, re.IGNORECASE), pair[1]) for pattern, pair in zip(patterns, pairs, strict=True)]


def find_banned(text: str, banned: list[tuple[re.Pattern[str], str]]) -> Iterator[tuple[int, str, str]]:
    """Find banned phrases in a text.

    Yields
    ------
    tuple of int, str and str
        The number of the line, counted from 1, the phrase, and its replacement.
    """
    for pattern, replacement in banned:
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), replacement


def main(files: list[str]) -> int:
    """Check files, report every finding on stdout, and return the exit code."""
    banned = read_banned()
    passed = check_spelling(files)
    for file in files:
        text = Path(file).read_text(encoding="utf-8")
        if file.endswith(".md"):
            text = re.sub(r"`[^`\n]+`", "``", text)
        for line, phrase, replacement in sorted(find_banned(text, banned)):
            passed = False
            print(f"{file}:{line}: '{phrase}': write {replacement}")
    return not passed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
