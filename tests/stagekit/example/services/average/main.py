"""Average: compute and publish the mean temperature of each station."""

from statistics import fmean
from typing import Any

from services.pipeline import MEANS, READINGS, AverageSettings
from stagekit.volume.workspace import Workspace


def main(settings: AverageSettings, work: Workspace) -> dict[str, Any]:
    by_station: dict[str, list[float]] = {}
    for station, celsius in work.load(READINGS):
        by_station.setdefault(station, []).append(celsius)
    means = {station: fmean(values) for station, values in sorted(by_station.items())}
    if settings.unit == "fahrenheit":
        means = {station: 32 + 1.8 * mean for station, mean in means.items()}
    work.save(MEANS, means)
    work.publish_after_commit(MEANS)
    return {"stations": len(means)}
