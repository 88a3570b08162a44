"""Lineage: a manifest as OpenLineage describes it. The second half needs Airflow's OpenLineage provider."""

import pytest

from dags.lineage import _artifacts, is_enabled


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


MANIFEST = {
    "run": "demo",
    "stage": "transform",
    "inputs": [record("extract/customers.pkl"), record("data/file.csv")],
    "outputs": [record("features.pkl", "c" * 64, 20), record("dropped.csv")],
    "settings": {"feature_columns": ["BALANCE", "PURCHASES"], "outliers": "keep"},
    "image": "customer-segmentation/transform:latest sha256:0",
    "versions": {"python": "3.13.5", "pandas": "3.1.1"},
}


def test_a_stage_is_described_by_its_inputs_outputs_settings_and_versions():
    pytest.importorskip("airflow.providers.openlineage")
    from dags.lineage import describe_lineage

    lineage = describe_lineage(MANIFEST, "/data/bank", "runs/demo/transform")
    assert [dataset.name for dataset in lineage.inputs] == [
        "/data/bank/runs/demo/extract/customers.pkl",
        "/data/bank/data/file.csv",
    ]
    features, dropped = lineage.outputs
    assert features.name == "/data/bank/runs/demo/transform/features.pkl"
    assert features.facets["version"].datasetVersion == "sha256:" + "c" * 64
    assert [field.name for field in features.facets["schema"].fields] == ["BALANCE", "PURCHASES"]
    assert features.outputFacets["outputStatistics"].size == 20
    assert "schema" not in dropped.facets
    parameters = {one.key: one.value for one in lineage.run_facets["executionParameters"].parameters}
    assert parameters == {"feature_columns": '["BALANCE", "PURCHASES"]', "outliers": '"keep"'}
    assert {tag.key: tag.value for tag in lineage.run_facets["tags"].tags}["pandas"] == "3.1.1"
