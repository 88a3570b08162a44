"""An artifact: a file, or a folder of parts, that one stage writes and later stages read."""

from __future__ import annotations

from typing import NamedTuple

from stagekit.volume.formats import Format, PickleFormat


class Artifact(NamedTuple):
    """What a stage writes under a name, and in which format."""

    stage: str
    name: str
    """File name; an artifact of several parts is a folder of this name without its suffix."""
    format: Format | PickleFormat
    columns: str = ""
    """Setting that lists its columns, for lineage."""
