"""Add somebody who may sign in to Airflow.

    python3 docker/user.py .env ana Viewer

The password is asked for, or read from stdin where that is no terminal; left empty, one is made up and printed, once. It
never stands on a command line, where everybody on the machine who can list processes could read it.
"""

import getpass
import json
import os
import secrets
import sys
import urllib.error
from pathlib import Path

from environment import read  # the files beside this one
from trigger import Airflow


def ask_for_password(name: str) -> str:
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password for {name} (empty: make one up): ")
        if password and password != getpass.getpass("Once more: "):
            sys.exit("the two were not the same: nothing was changed")
        return password
    return sys.stdin.readline().rstrip("\n")


def main(environment: Path, name: str, role: str) -> None:
    known = read(environment) | os.environ
    if "AIRFLOW_ADMIN_PASSWORD" not in known:
        sys.exit(f"{environment} is not there yet: run `make up` first")
    address = f"http://127.0.0.1:{known['AIRFLOW_PORT']}"
    try:
        airflow = Airflow(address, "admin", known["AIRFLOW_ADMIN_PASSWORD"])
        chosen = ask_for_password(name)
        password = chosen or secrets.token_urlsafe(12)
        body = {
            "username": name,
            "first_name": name,
            "last_name": "-",
            "email": f"{name}@localhost",
            "roles": [{"name": role}],
            "password": password,
        }
        airflow.send("/auth/fab/v1/users", body)
    except urllib.error.HTTPError as error:
        sys.exit(f"Airflow answers {error.code}: {json.load(error)['detail']}")
    except urllib.error.URLError as error:
        sys.exit(f"Airflow does not answer at {address} ({error.reason}): is it up? `make up` starts it")
    print(f"{name} may sign in at {address} as {role}" + ("" if chosen else f" with the password {password}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
