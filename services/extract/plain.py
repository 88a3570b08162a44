"""Tell from the bytes of CSV rows whether pandas reads of it what the strict reader reads.

pandas ends a cell at a zero byte, takes `"Ann"e` for `Anne`, loses a last row after a lone carriage return, drops a byte order
mark from whatever begins with one, and knows no limit to the length of a cell; all of it silently.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 24
_WINDOW = 1 << 16  # half of what csv allows a cell: whatever is longer than that fills a window without a line end
_BESIDE_QUOTES = np.frombuffer(b',\r\n"', np.uint8)


def is_plain(rows: bytes) -> bool:
    """Tell whether rows have no zero byte, no very long line, and no quote or carriage return where there should be none.

    And they do not begin with a byte order mark.
    """
    if rows.startswith(codecs.BOM_UTF8):
        return False
    if not any(sign in rows for sign in (b"\0", b"\r", b'"')):  # as in most tables
        return _has_short_lines(rows)
    n_quotes = 0
    carried = b"\n"  # the last byte that was judged, and the one after it, which was not
    for chunk in chain(_chunks(rows), [b"\n"]):
        text = carried + chunk
        carried = text[-2:]
        if b"\0" in chunk or not _has_short_lines(chunk):
            return False
        if text.count(b"\r", 0, -1) != text.count(b"\r\n"):
            return False
        quotes = _find_quotes(text)
        opens = np.arange(n_quotes, n_quotes + len(quotes)) % 2 == 0
        beside = np.frombuffer(text, np.uint8)[np.where(opens, quotes - 1, quotes + 1)]
        if not np.isin(beside, _BESIDE_QUOTES).all():
            return False
        n_quotes += len(quotes)
    return n_quotes % 2 == 0


def _chunks(rows: bytes) -> Iterator[bytes]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def _has_short_lines(chunk: bytes) -> bool:
    starts = range(0, len(chunk) - _WINDOW + 1, _WINDOW)
    return all(chunk.find(b"\n", start, start + _WINDOW) >= 0 for start in starts)


def _find_quotes(text: bytes) -> NDArray[np.intp]:
    """Find the quotes between the first and the last byte, which are judged with the texts before and after."""
    if b'"' not in text:
        return np.empty(0, np.intp)
    return 1 + np.flatnonzero(np.frombuffer(text, np.uint8)[1:-1] == ord('"'))
