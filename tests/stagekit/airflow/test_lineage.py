"""Lineage: a manifest as OpenLineage describes it."""

import io
import json
import tarfile
from hashlib import sha256

import pytest
from docker.errors import DockerException
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Job, Run, RunEvent
from openlineage.client.generated.base import EventType
from openlineage.client.transport.file import FileConfig, FileTransport

from stagekit.airflow.lineage import _artifacts, describe_lineage, is_enabled, read_manifest
from tests.stagekit.airflow.probe_pipeline import PIPELINE


def record(name, sha256="a" * 64, n_bytes=10, **more):
    return {"name": name, "sha256": sha256, "bytes": n_bytes, **more}


def test_an_artifact_in_one_piece_keeps_its_digest():
    assert _artifacts([record("data/file.csv", "b" * 64)]) == {"data/file.csv": ("b" * 64, 10, 1)}


def test_the_parts_of_an_artifact_are_one_dataset():
    parts = [record(f"extract/customers/0000{i}.pkl", str(i) * 64, part_of="extract/customers.pkl") for i in range(3)]
    [(name, (digest, n_bytes, n_files))] = _artifacts(parts).items()
    assert (name, n_bytes, n_files) == ("extract/customers.pkl", 30, 3)
    assert digest not in {part["sha256"] for part in parts}


def test_without_the_provider_or_a_receiver_there_is_no_lineage(monkeypatch):
    for name in ("OPENLINEAGE_URL", "AIRFLOW__OPENLINEAGE__TRANSPORT"):
        monkeypatch.delenv(name, raising=False)
    assert is_enabled() is False


class Engine:
    """Hands out one file, as Docker's archive of it."""

    def __init__(self, text, size=None):
        self.text, self.size = text, size

    def get_archive(self, _container, path):
        if path != "/shared/manifest.json":
            raise DockerException("no such file")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as file:
            member = tarfile.TarInfo("manifest.json")
            member.size = len(self.text)
            file.addfile(member, io.BytesIO(self.text))
        return [archive.getvalue()], {"size": self.size or len(self.text)}


TEXT = b'{"stage": "train"}'


def test_a_manifest_is_read_from_the_archive_of_it():
    assert read_manifest(Engine(TEXT), "c", "/shared/manifest.json", sha256(TEXT).hexdigest()) == {"stage": "train"}


@pytest.mark.parametrize(
    ("engine", "path", "digest", "reason"),
    [
        (Engine(TEXT), "/shared/none.json", sha256(TEXT).hexdigest(), "no such file"),
        (Engine(TEXT), "/shared/manifest.json", "0" * 64, "it was written by another try"),
        (Engine(TEXT, size=10**9), "/shared/manifest.json", sha256(TEXT).hexdigest(), "it has 1,000,000,000 bytes"),
        (Engine(b"{"), "/shared/manifest.json", sha256(b"{").hexdigest(), "Expecting property name"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_no_lineage_and_no_failure(caplog, engine, path, digest, reason):
    assert read_manifest(engine, "c", path, digest) is None
    assert reason in caplog.text


MANIFEST = {
    "run": "demo",
    "stage": "transform",
    "inputs": [record("extract/customers.pkl"), record("data/file.csv")],
    "outputs": [record("features.json", "c" * 64, 20), record("dropped.csv")],
    "settings": {"feature_columns": ["BALANCE", "PURCHASES"], "outliers": "keep"},
    "image": "probe-pipeline/transform:latest sha256:0",
    "versions": {"python": "3.13.5", "pandas": "3.1.1"},
}


def test_a_stage_is_described_by_its_inputs_outputs_settings_and_versions():
    lineage = describe_lineage(MANIFEST, PIPELINE, "/data/bank", "runs/demo/transform")
    assert [dataset.name for dataset in lineage.inputs] == [
        "/data/bank/runs/demo/extract/customers.pkl",
        "/data/bank/data/file.csv",
    ]
    features, dropped = lineage.outputs
    assert features.name == "/data/bank/runs/demo/transform/features.json"
    assert features.facets["version"].datasetVersion == "sha256:" + "c" * 64
    assert [field.name for field in features.facets["schema"].fields] == ["BALANCE", "PURCHASES"]
    assert features.outputFacets["outputStatistics"].size == 20
    assert "schema" not in dropped.facets
    parameters = {one.key: one.value for one in lineage.run_facets["executionParameters"].parameters}
    assert parameters == {"feature_columns": '["BALANCE", "PURCHASES"]', "outliers": '"keep"'}
    assert {tag.key: tag.value for tag in lineage.run_facets["tags"].tags}["pandas"] == "3.1.1"


def test_the_client_of_openlineage_writes_the_description_with_the_schema_of_each_facet(tmp_path):
    lineage = describe_lineage(MANIFEST, PIPELINE, "/data/bank", "runs/demo/transform")
    client = OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=str(tmp_path / "event.json"), append=True)))
    client.emit(
        RunEvent(
            eventType=EventType.COMPLETE,
            eventTime="2026-01-05T09:00:00Z",
            producer="https://airflow.apache.org",
            run=Run(runId="01890a5d-ac96-774b-bcce-b302099a8057", facets=lineage.run_facets),
            job=Job(namespace="customer-segmentation", name="transform"),
            inputs=lineage.inputs,
            outputs=lineage.outputs,
        )
    )
    event = json.loads((tmp_path / "event.json").read_text())
    assert [len(event[side]) for side in ("inputs", "outputs")] == [2, 2]
    features, _ = event["outputs"]
    facets = event["run"]["facets"] | features["facets"] | features["outputFacets"] | event["inputs"][0]["inputFacets"]
    assert {facet["_schemaURL"].rpartition("/")[2] for name, facet in facets.items() if name != "tags"} == {
        *("DatasetVersionDatasetFacet", "SchemaDatasetFacet", "InputStatisticsInputDatasetFacet"),
        *("OutputStatisticsOutputDatasetFacet", "ExecutionParametersRunFacet"),
    }
