"""Read: validate the readings of all stations."""

import csv
from typing import Any

from services.pipeline import READINGS, ReadSettings
from stagekit.errors import DataError
from stagekit.volume.workspace import Workspace


def main(settings: ReadSettings, work: Workspace) -> dict[str, Any]:
    with work.user_files.open(settings.data_file).open(newline="") as file:
        readings = [
            [row["station"], parse_celsius(row["celsius"], f"{settings.data_file} row {number}")]
            for number, row in enumerate(csv.DictReader(file), start=2)
        ]
    work.save(READINGS, readings)
    return {"readings": len(readings)}


def parse_celsius(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: celsius is {text!r}, expected a number") from None
