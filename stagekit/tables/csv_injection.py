"""Text that a spreadsheet shows instead of running it.

Excel, LibreOffice and others run a CSV cell as a formula if it begins with one of a few characters, whoever wrote it: a
customer's id is enough. OWASP's advice ("CSV Injection", and ASVS 1.2.10) is to put an apostrophe in front.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"[\s']*[=+\-@＝＋－＠]|'*[\t\r\n\0]")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?", re.ASCII)


def escape_formula(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula; a plain number stays as it is.

    No two texts become the same one, so that ids still tell customers apart.
    """
    return "'" + text if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unescape(text: str) -> str:
    """Return the text that `escape_formula` was given."""
    return text[1:] if text.startswith("'") and escape_formula(text[1:]) == text else text
