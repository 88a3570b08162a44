from pathlib import Path

import pytest

from tests.docker.stack import sample_volume


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume that holds the sample data and nothing else."""
    return sample_volume(tmp_path)
