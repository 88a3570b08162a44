from pathlib import Path

import pytest

from tests.docker.stack import sample_volume


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Provide a volume with only the sample data."""
    return sample_volume(tmp_path)
