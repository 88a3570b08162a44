"""Files that unpack to far more than they are: the stage refuses them and needs no more memory than for any table."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEADER = b"CUST_ID,BALANCE,PURCHASES,CREDIT_LIMIT\n"
REPOSITORY = Path(__file__).parents[3]
N_BLOCKS = 320  # of 1 MiB
MAX_MIB = 300  # Python, DuckDB and their libraries take 100 to 200


def pack(path: Path, head: bytes, block: bytes) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(N_BLOCKS):
            file.write(block)


@pytest.mark.parametrize(
    ("head", "block", "complaint"),
    [
        (b"", bytes(1 << 20), "row 1: more than 4,194,304 characters in one row"),
        (HEADER, bytes(1 << 20), "row 2: more than 4,194,304 characters in one row"),
        (HEADER, b"1" * (1 << 20), "row 2: more than 4,194,304 characters in one row"),
        (HEADER, b'"\n",' * (1 << 18), "row 2: more than 4,194,304 characters in one row"),
        (HEADER, b"0\n" * (1 << 19), "row 2: 1 fields instead of 4, it begins with '0'; more than 1,000,000 faults"),
    ],
    ids=["zeros", "zeros below a header", "one line", "one row of many lines", "many wrong rows"],
)
def test_a_small_file_that_unpacks_to_a_large_one_is_refused_within_little_memory(tmp_path, head, block, complaint):
    (tmp_path / "data").mkdir()
    pack(tmp_path / "data/file.csv.gz", head, block)
    arguments = ["-m", "services.extract", f"--volume={tmp_path}", "--run=demo", "--data-file=data/file.csv.gz"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *arguments], cwd=REPOSITORY, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 65
    assert f"file.csv.gz {complaint}" in (tmp_path / "log").read_text().splitlines()[-1]
    assert usage.ru_maxrss / 2**10 < MAX_MIB
