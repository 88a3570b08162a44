"""Changes: list the customers whom a publication has put into another segment than before."""

import logging
from typing import Any

from services.changes.migration import previous_names, write_changes
from services.contract import artifacts
from stagekit.errors import MissingInputError
from stagekit.settings import StageSettings
from stagekit.volume.workspace import Workspace

log = logging.getLogger(__name__)


def main(_: StageSettings, work: Workspace) -> dict[str, Any]:
    register = work.read_registry(lock=False)
    entry = register.entry(work.run)
    if entry is None or entry.publication is None:
        kept = ", ".join(kept.run for kept in register.kept_runs()) or "none yet"
        raise MissingInputError(f"run {work.run} has published no segments that are still kept: name one that has ({kept})")
    published = work.open_published(entry, artifacts.SEGMENTS)
    with work.open_part(artifacts.CHANGED) as file:
        moves = write_changes(published, previous_names(register, entry), entry.publication.segments, file)
    changed = sum(moves.between.values())
    for (origin, target), count in moves.between.most_common():
        log.info("from %s to %s: %d", origin, target, count)
    log.info("%d of %d customers are in another segment than before", changed, moves.customers)
    return {"run": work.run, "customers": moves.customers, "changed": changed}
