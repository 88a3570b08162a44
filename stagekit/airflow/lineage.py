"""Lineage in OpenLineage's terms: the inputs and outputs of a stage, from its manifest.

Airflow's OpenLineage provider sends the events if it is installed and configured (docs/operations.md). Otherwise no manifest
is read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import logging
import tarfile
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from docker.api import APIClient
from docker.errors import DockerException

from stagekit.airflow.containers import VOLUME
from stagekit.pipeline import Pipeline
from stagekit.volume.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

NAMESPACE = "file"
"""OpenLineage's namespace for files of a host; a dataset's name is its path there."""
_MAX_BYTES = 4 * 2**20

log = logging.getLogger(__name__)


def is_enabled() -> bool:
    """Determine whether events are sent: the provider is installed, and its configuration names a receiver."""
    if importlib.util.find_spec("airflow.providers.openlineage") is None:
        return False
    from airflow.providers.openlineage import conf

    return not conf.is_disabled()


def read_if_enabled(client: APIClient, container: str, folder: str, sha256: str) -> dict[str, Any] | None:
    """Read the manifest in a folder of the volume while the container still exists, if lineage is enabled."""
    return read_manifest(client, container, f"{VOLUME}/{folder}/{MANIFEST_NAME}", sha256) if is_enabled() else None


def read_manifest(client: APIClient, container: str, path: str, sha256: str) -> dict[str, Any] | None:
    """Read a stage's manifest out of its container, since Airflow has no access to the volume.

    Parameters
    ----------
    client : APIClient
    container : str
        Id of the container, which may have exited.
    path : str
        Of the manifest inside the container.
    sha256 : str
        The digest that the stage has reported.

    Returns
    -------
    dict or None
        None, and a warning in the log, if it cannot be read or is another one: lineage never fails a task.
    """
    try:
        chunks, about = client.get_archive(container, path)
        if about["size"] > _MAX_BYTES:
            raise ValueError(f"it has {about['size']:,} bytes")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            text = file.read() if file else b""
        if hashlib.sha256(text).hexdigest() != sha256:
            raise ValueError("it was written by another try")
        manifest: dict[str, Any] = json.loads(text)
    except (DockerException, OSError, ValueError, LookupError, tarfile.TarError) as error:
        log.warning("no lineage: %s cannot be read (%s)", path, error)
        return None
    return manifest


def describe_lineage(manifest: dict[str, Any], pipeline: Pipeline, volume: str, folder: str) -> OperatorLineage[Any, Any]:
    """Describe what a stage has read and written.

    Parameters
    ----------
    manifest : dict
        Of the stage.
    pipeline : Pipeline
    volume : str
        Path of the volume on the Docker host.
    folder : str
        The stage's folder inside the volume.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
    from openlineage.client.generated.execution_parameters_run import ExecutionParameter, ExecutionParametersRunFacet
    from openlineage.client.generated.input_statistics_input_dataset import InputStatisticsInputDatasetFacet
    from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet
    from openlineage.client.generated.schema_dataset import SchemaDatasetFacet, SchemaDatasetFacetFields
    from openlineage.client.generated.tags_run import TagsRunFacet, TagsRunFacetFields

    settings = manifest["settings"]
    stages = {stage.name for stage in pipeline.stages}
    columns_of = {artifact.name: artifact.columns for stage in pipeline for artifact in stage.writes if artifact.columns}

    def facets(name: str, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = {"version": DatasetVersionDatasetFacet(datasetVersion=f"sha256:{digest}")}
        columns = settings.get(columns_of.get(name.rpartition("/")[2], ""))
        if columns:
            found["schema"] = SchemaDatasetFacet(
                fields=[SchemaDatasetFacetFields(name=column, type="double") for column in columns]
            )
        return found

    def path(name: str) -> str:
        # Manifests name what a stage of the same run wrote by its path inside the run, all else by its path inside the volume.
        is_of_run = name.partition("/")[0] in stages
        return f"{volume}/{folder.rpartition('/')[0]}/{name}" if is_of_run else f"{volume}/{name}"

    inputs = [
        InputDataset(
            namespace=NAMESPACE,
            name=path(name),
            facets=facets(name, digest),
            inputFacets={"inputStatistics": InputStatisticsInputDatasetFacet(size=size, fileCount=count)},
        )
        for name, (digest, size, count) in _artifacts(manifest["inputs"]).items()
    ]
    outputs = [
        OutputDataset(
            namespace=NAMESPACE,
            name=f"{volume}/{folder}/{name}",
            facets=facets(name, digest),
            outputFacets={"outputStatistics": OutputStatisticsOutputDatasetFacet(size=size, fileCount=count)},
        )
        for name, (digest, size, count) in _artifacts(manifest["outputs"]).items()
    ]
    parameters = [ExecutionParameter(key=name, value=json.dumps(value)) for name, value in settings.items()]
    tags = {"image": manifest["image"] or "unknown", **manifest["versions"]}
    return OperatorLineage(
        inputs=inputs,
        outputs=outputs,
        run_facets={
            "executionParameters": ExecutionParametersRunFacet(parameters=parameters),
            "tags": TagsRunFacet(
                tags=[TagsRunFacetFields(key=name, value=text, source="STAGE") for name, text in tags.items()]
            ),
        },
    )


def _artifacts(records: list[dict[str, Any]]) -> dict[str, tuple[str, int, int]]:
    """Put the parts of each artifact together: its digest, its size in bytes and its number of files, by name.

    The digest of an artifact in parts is that of the lines `<sha256>  <name>` of its parts, as sha256sum writes them.
    """
    parts = defaultdict(list)
    for record in records:
        folder, _, name = record["name"].rpartition("/")
        if record.get("part_of"):
            folder, name = folder.rpartition("/")[0], record["part_of"].rpartition("/")[2]
        parts[f"{folder}/{name}".lstrip("/")].append(record)
    found = {}
    for artifact, own in parts.items():
        lines = "".join(f"{record['sha256']}  {record['name']}\n" for record in own)
        digest = own[0]["sha256"] if len(own) == 1 else hashlib.sha256(lines.encode()).hexdigest()
        found[artifact] = digest, sum(record["bytes"] for record in own), len(own)
    return found
