"""Files that unpack to far more than they are: the stage refuses them and needs no more memory than for any table."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

HEADER = b"CUST_ID,BALANCE,PURCHASES,CREDIT_LIMIT\n"
REPOSITORY = Path(__file__).parents[3]
N_BLOCKS = 320  # of 1 MiB
MEASURE = """
import resource, subprocess, sys
ended = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL)
print(ended.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Starts the stage from a small process: a child counts the memory of the process that it was started from, too."""
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
    ended = subprocess.run([sys.executable, "-c", MEASURE, *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    exit_code, peak_kib = map(int, ended.stdout.split())
    assert exit_code == 65
    assert f"file.csv.gz {complaint}" in ended.stderr.splitlines()[-1]
    assert peak_kib / 2**10 < MAX_MIB
