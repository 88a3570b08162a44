"""The example stage of CONTRIBUTING.md, added and run."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from services.contract import artifacts
from tests.docker.commands import REPOSITORY
from tests.services.segment.runs import save


def test_the_stage_of_the_example_runs_as_documented(tmp_path: Path) -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    blocks = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)]
    start, main, artifact, declaration, _ = blocks
    for package in ("stagekit", "services"):
        shutil.copytree(REPOSITORY / package, tmp_path / package)
    folder = tmp_path / "services/export"
    folder.mkdir()
    for name, code in {"__init__.py": "", "__main__.py": start, "main.py": main}.items():
        (folder / name).write_text(code)
    with (tmp_path / "services/contract/artifacts.py").open("a") as file:
        file.write(artifact)
    pipeline = tmp_path / "services/pipeline.py"
    code = pipeline.read_text().replace("    others=(", f"    others=({declaration.strip()},", 1)
    pipeline.write_text(code.replace("    CUSTOMERS,\n", "    CUSTOMERS,\n    EXPORT,\n", 1))

    volume = tmp_path / "volume"
    volume.mkdir()
    save(volume, "demo", artifacts.SEGMENTATION, {"segments": [{"segment_id": 1}, {"segment_id": 2}]})
    command = [sys.executable, "-m", "services.export", f"--volume={volume}", "--run=demo"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"segments": 2}
    lines = (volume / "runs/demo/export/segments.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"segment_id": 1}, {"segment_id": 2}]
