"""Escaping of spreadsheet formulas in CSV cells.

Excel, LibreOffice and other programs evaluate a CSV cell as a formula if it begins with certain characters, so a customer's id
can contain code. As OWASP recommends ("CSV Injection", and ASVS 1.2.10), such text gets a leading apostrophe.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"[\s']*[=+\-@＝＋－＠]|'*[\t\r\n\0]")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?", re.ASCII)


def escape_formula(text: str) -> str:
    """Prefix text that a spreadsheet would evaluate with an apostrophe; plain numbers remain unchanged.

    Different texts remain different, so that ids still identify customers.
    """
    return "'" + text if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unescape(text: str) -> str:
    """Return the text from which `escape_formula` made `text`."""
    return text[1:] if text.startswith("'") and escape_formula(text[1:]) == text else text
