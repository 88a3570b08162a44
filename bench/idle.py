"""CPU use of stacks in which nothing runs: `docker stats`, averaged over minutes, several stacks side by side.

python -m bench.idle customer-segmentation --minutes 5
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections import defaultdict
from statistics import mean


def containers(projects: list[str]) -> dict[str, tuple[str, str]]:
    """Map the ids of all running containers to project and service."""
    label = "com.docker.compose"
    command = ["docker", "ps", "--format", f'{{{{.ID}}}} {{{{.Label "{label}.project"}}}} {{{{.Label "{label}.service"}}}}']
    rows = [line.split(" ") for line in subprocess.check_output(command, text=True).splitlines()]
    return {row[0]: (row[1], row[2]) for row in rows if row[1] in projects}


def sample(ids: list[str]) -> dict[str, float]:
    """Read the share of one core, in percent, that each container uses; Docker averages over a second or two."""
    lines = subprocess.check_output(["docker", "stats", "--no-stream", "--format", "{{json .}}", *ids], text=True).splitlines()
    return {row["ID"]: float(row["CPUPerc"].rstrip("%")) for row in map(json.loads, lines)}


def main() -> None:
    """Measure the stacks named on the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", help="names of compose projects")
    parser.add_argument("--minutes", type=float, default=5)
    arguments = parser.parse_args()
    of = containers(arguments.projects)
    shares, loads = defaultdict(list), []
    ends = time.monotonic() + 60 * arguments.minutes
    while time.monotonic() < ends:
        loads.append(os.getloadavg()[0])
        for container, share in sample(list(of)).items():
            shares[of[container]].append(share)
    print("| project | service | mean | samples |\n|---|---|---:|---:|")
    for project in arguments.projects:
        rows = {service: values for (name, service), values in sorted(shares.items()) if name == project}
        for service, values in rows.items():
            print(f"| {project} | {service} | {mean(values):.1f} % | {len(values)} |")
        print(f"| {project} | together | {sum(map(mean, rows.values())):.1f} % | |")
    print(f"load average of the machine meanwhile: {mean(loads):.1f} (at most {max(loads):.1f})")


if __name__ == "__main__":
    main()
