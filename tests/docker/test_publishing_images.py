"""The plan of `make push` according to buildx; nothing is built here."""

import json
from typing import Any

import pytest

from tests.docker.commands import make

pytestmark = [pytest.mark.needs_docker, pytest.mark.usefixtures("docker_engine")]


@pytest.fixture(scope="module")
def plan() -> dict[str, Any]:
    arguments = {"REGISTRY": "registry.test/me/", "TAG": "1.2.3", "PLATFORMS": "linux/amd64,linux/arm64"}
    targets: dict[str, Any] = json.loads(make("push", **arguments, ARGS="--print").stdout)["target"]
    return targets


def test_every_image_is_pushed_under_its_version_for_both_processors(plan: dict[str, Any]) -> None:
    assert {"airflow", "extract", "report"} <= set(plan)
    for name, target in plan.items():
        assert target["tags"] == [f"registry.test/me/customer-segmentation/{name}:1.2.3"]
        assert target["platforms"] == ["linux/amd64", "linux/arm64"]
        assert all("push=true" in output for output in target["output"])


def test_every_pushed_image_has_sbom_and_provenance(plan: dict[str, Any]) -> None:
    for target in plan.values():
        assert {attestation.split(",")[0] for attestation in target["attest"]} == {"type=sbom", "type=provenance"}


def test_every_image_keeps_its_layers_in_the_registry_for_the_next_build(plan: dict[str, Any]) -> None:
    for name, target in plan.items():
        assert f"registry.test/me/customer-segmentation/{name}:cache" in target["cache-to"][0]
        assert target["cache-to"] == target["cache-from"]


def test_the_registry_is_required() -> None:
    ended = make("push", check=False)
    assert ended.returncode != 0
    assert "make push REGISTRY=" in ended.stderr
