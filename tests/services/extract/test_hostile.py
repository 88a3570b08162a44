"""Files that unpack to far more than they are: the stage needs no more memory than for any table."""

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


def extract(volume: Path, head: bytes, block: bytes) -> tuple[int, float, str]:
    """Extract a packed table; returns the exit code, the peak memory in MiB and the log."""
    (volume / "data").mkdir()
    with gzip.open(volume / "data/file.csv.gz", "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(N_BLOCKS):
            file.write(block)
    arguments = ["-m", "services.extract", f"--volume={volume}", "--run=demo", "--data-file=data/file.csv.gz"]
    ended = subprocess.run([sys.executable, "-c", MEASURE, *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    exit_code, peak_kib = map(int, ended.stdout.split())
    return exit_code, peak_kib / 2**10, ended.stderr


@pytest.mark.parametrize(
    ("head", "block", "complaint"),
    [
        (b"", bytes(1 << 20), "row 1: more than 4,194,304 characters in one row"),
        (HEADER, bytes(1 << 20), "row 2: more than 4,194,304 characters in one row"),
        (HEADER, b"1" * (1 << 20), "row 2: more than 4,194,304 characters in one row"),
        (HEADER, b'"\n",' * (1 << 18), "row 2: more than 4,194,304 characters in one row"),
        pytest.param(
            HEADER,
            b"0\n" * (1 << 19),
            "row 2: 1 fields instead of 4, it begins with '0'; more than 1,000,000 faults",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["zeros", "zeros below a header", "one line", "one row of many lines", "many wrong rows"],
)
def test_a_small_file_that_unpacks_to_a_large_one_is_refused_within_little_memory(tmp_path, head, block, complaint):
    exit_code, peak_mib, log = extract(tmp_path, head, block)
    assert exit_code == 65
    assert f"file.csv.gz {complaint}" in log.splitlines()[-1]
    assert peak_mib < MAX_MIB


@pytest.mark.slow
def test_millions_of_rows_with_the_same_id_take_little_memory(tmp_path):
    exit_code, peak_mib, log = extract(tmp_path, HEADER, b"0,0,0,0\n" * (1 << 16))
    assert exit_code == 0
    assert f"dropped {N_BLOCKS * (1 << 16) - 1} duplicates of CUST_ID" in log
    assert peak_mib < MAX_MIB + 200, "16 bytes for each row would be 320 MiB more"
