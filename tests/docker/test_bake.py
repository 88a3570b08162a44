"""What a CI can ask of the build: a base image by its digest, SBOM and provenance."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docker.commands import REPOSITORY

pytestmark = pytest.mark.needs_docker


def plan(**variables: str) -> dict[str, Any]:
    """Return the targets that buildx would build."""
    command = ["docker", "buildx", "bake", "--file=docker/docker-bake.hcl", "--print"]
    environment = os.environ | {"PIPELINE": "customer-segmentation", "STAGES": "extract:table,train:learning"} | variables
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    targets: dict[str, Any] = json.loads(ended.stdout)["target"]
    return targets


def test_the_base_image_of_everything_can_be_pinned_by_its_digest(docker_engine: None) -> None:
    pinned = f"python:3.13-slim-trixie@sha256:{'0123456789abcdef' * 4}"
    assert {target["args"]["BASE_IMAGE"] for target in plan(BASE_IMAGE=pinned).values()} == {pinned}
    for recipe in ("stage", "airflow"):
        lines = (REPOSITORY / f"docker/{recipe}.Dockerfile").read_text().splitlines()
        named = {line.split()[1] for line in lines if line.startswith("FROM ")}
        assert named - {"bare", "table", "learning", "${FOUNDATION}"} == {"${BASE_IMAGE}"}


def test_sbom_and_provenance_are_one_variable_away(docker_engine: None) -> None:
    assert {name: target.get("attest", []) for name, target in plan().items()} == {"extract": [], "train": [], "airflow": []}
    for target in plan(ATTESTATIONS="true").values():
        assert target["attest"] == ["type=sbom", "type=provenance,mode=max"]


def test_the_layer_of_a_stage_follows_from_its_dependency_group(tmp_path: Path) -> None:
    for stage in ("fit", "read", "write"):
        (tmp_path / "services" / stage).mkdir(parents=True)
        (tmp_path / "services" / stage / "__main__.py").touch()
    (tmp_path / "pyproject.toml").write_text("""
        [dependency-groups]
        table = ["pandas"]
        learning = [{ include-group = "table" }, "scikit-learn"]
        read = [{ include-group = "table" }]
        fit = [{ include-group = "learning" }]
    """)
    shutil.copytree(REPOSITORY / "docker", tmp_path / "docker")
    listed = subprocess.run([sys.executable, "docker/list_stages.py"], cwd=tmp_path, capture_output=True, text=True)
    assert listed.stdout == "fit:learning,read:table,write:bare\n"
