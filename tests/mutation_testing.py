"""Mutation testing: the code is changed in one place at a time (a mutant), and at least one test should fail for each.

    python -m tests.mutation_testing --max-mutants 40 evaluate segment

mutmut makes the mutants and runs the tests, in a copy of the checkout for each package. There are thousands of mutants; a
sample of each module, drawn with a seed, is sufficient. Survivors are listed at the end. One is shown by

    cd mutants/evaluate && ../../.venv/bin/mutmut show services.evaluate.choice.x__join__mutmut_1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SEED = 7
MUTMUT = Path(sys.executable).with_name("mutmut")

# Modules and their tests. `main.py` and the Dask pool are tested in separate processes, which mutmut cannot observe.
PACKAGES = {
    "stagekit": ("stagekit/*.py", "tests/stagekit/test_errors.py tests/stagekit/test_serialization.py tests/stagekit/stage"),
    "volume": ("stagekit/volume/*.py", "tests/stagekit/volume tests/services/extract"),
    "contract": ("services/contract/*.py", "tests/services/contract tests/services/transform"),
    "transform": ("services/transform/[fs]*.py", "tests/services/transform"),
    "train": ("services/train/sweep.py", "tests/services/train"),
    "evaluate": ("services/evaluate/*.py", "tests/services/evaluate"),
    "segment": ("services/segment/*.py", "tests/services/segment"),
}
CONFIGURATION = """\
[mutmut]
source_paths =
    services
    stagekit
only_mutate = {modules}
do_not_mutate =
    */main.py
    */__main__.py
    */dask_pool.py
also_copy =
    bench
    docker
    shared_volume/data
pytest_add_cli_args_test_selection =
    {tests}
pytest_add_cli_args =
    -m=not needs_docker
    --deselect=tests/stagekit/volume/test_model_store.py::test_killed_at_random_leaves_one_whole_run_in_force
    --deselect=tests/services/segment/test_main.py::test_two_processes_at_once_publish_one_after_the_other_or_not_at_all
    --deselect=tests/services/segment/test_score.py::test_scoring_is_one_command_without_a_run
"""
# With several OpenMP threads, the processes that mutmut forks would wait forever.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation_testing")
    parser.add_argument("packages", nargs="*", default=list(PACKAGES), help=f"some of {', '.join(PACKAGES)}; all by default")
    parser.add_argument("--max-mutants", type=int, default=15, help="number of mutants to test per module (default: 15)")
    arguments = parser.parse_args()
    all_survivors: list[str] = []
    lines = [f"{'module':<40} {'mutants':>7} {'tested':>6} {'killed':>6}"]
    for package in arguments.packages:
        folder = check_out(package)
        # Makes all mutants and records which tests reach which code, then fails because no mutant has this name.
        subprocess.run([MUTMUT, "run", "none"], cwd=folder, env=ENVIRONMENT, capture_output=True)
        chosen = {
            module: random.Random(f"{SEED} {module}").sample(sorted(outcomes), min(arguments.max_mutants, len(outcomes)))
            for module, outcomes in read_outcomes(folder).items()
        }
        names = [name for names in chosen.values() for name in names]
        subprocess.run([MUTMUT, "run", *names], cwd=folder, env=ENVIRONMENT, check=True)
        tested, killed = Counter[str](), Counter[str]()
        for module, outcomes in read_outcomes(folder).items():
            survivors = [name for name in chosen[module] if outcomes[name] in (0, 5, 33)]  # 5 and 33: no test reaches it
            tested[module], killed[module] = len(chosen[module]), len(chosen[module]) - len(survivors)
            all_survivors += survivors
            lines.append(f"{module:<40} {len(outcomes):>7} {tested[module]:>6} {killed[module]:>6}")
        lines.append(f"{package:<48} {tested.total():>6} {killed.total():>6}  {killed.total() / tested.total():.0%}")
    print("\n", *lines, "", "Survivors:", *all_survivors, sep="\n")


def check_out(package: str) -> Path:
    """Copy the files of git into a folder for the mutants of a package."""
    folder = REPOSITORY / "mutants" / package
    shutil.rmtree(folder, ignore_errors=True)
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    modules, tests = PACKAGES[package]
    (folder / "setup.cfg").write_text(CONFIGURATION.format(modules=modules, tests="\n    ".join(tests.split())))
    return folder


def read_outcomes(folder: Path) -> dict[str, dict[str, int | None]]:
    """Read the exit code of the tests for each mutant, by module; None if it was not tested."""
    files = {path: json.loads(path.read_text())["exit_code_by_key"] for path in sorted(folder.glob("mutants/**/*.meta"))}
    return {name.rpartition(".")[0]: outcomes for outcomes in files.values() for name in list(outcomes)[:1]}


if __name__ == "__main__":
    main()
