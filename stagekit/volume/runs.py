"""The folder that a run has on the volume."""

from __future__ import annotations

import hashlib
import re

_PLAIN = re.compile(r"[a-z][a-z0-9_-]{0,79}")
_FOLDED = re.compile(r".*-[0-9a-f]{16}")
_RESERVED = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")  # file names that Windows shares reject


def run_folder(run: str) -> str:
    """Name the folder of a run: safe on any file system, and never the same for two runs.

    A plain name (lower-case letters, digits, `_` and `-`, beginning with a letter) stays as it is. Anything else,
    like Airflow's `manual__2026-01-05T09:00:00+00:00`, is made plain and gets the first 64 bits of its SHA-256
    appended; so does a plain name that has the form of such a one.

    Parameters
    ----------
    run : str
        Any text, at least one character.
    """
    if _PLAIN.fullmatch(run) and not _FOLDED.fullmatch(run) and not _RESERVED.fullmatch(run):
        return run
    slug = re.sub(r"[^a-z0-9_]+", "-", run.lower()).strip("-_")[:60] or "run"
    digest = hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{slug}-{digest[:16]}"
