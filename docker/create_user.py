"""Add somebody who may sign in to Airflow.

    python3 docker/create_user.py .env ana Viewer

The password is asked for, or read from stdin where that is no terminal; left empty, one is made up and printed, once. It
never stands on a command line, where everybody on the machine who can list processes could read it.
"""

import getpass
import os
import secrets
import sys
from pathlib import Path

from trigger_run import Airflow, exit_on_error
from write_env import MIN_PASSWORD, read  # the files beside this one


def ask_for_password(name: str) -> str:
    is_terminal = sys.stdin.isatty()
    prompt = f"Password for {name}, at least {MIN_PASSWORD} characters (empty: make one up): "
    password = getpass.getpass(prompt) if is_terminal else sys.stdin.readline().rstrip("\n")
    if 0 < len(password) < MIN_PASSWORD:
        sys.exit(
            f"the password has {len(password)} characters, expected at least {MIN_PASSWORD}: "
            "take several words, or leave it empty to have one made up; nothing was changed"
        )
    if password and len(set(password)) < 5:
        sys.exit(f"the password has {len(set(password))} different characters, expected at least 5; nothing was changed")
    if is_terminal and password and password != getpass.getpass("Once more: "):
        sys.exit("the two were not the same: nothing was changed")
    return password


def main(environment: Path, name: str, role: str) -> None:
    known = read(environment) | os.environ
    if "AIRFLOW_ADMIN_PASSWORD" not in known:
        sys.exit(f"{environment} is not there yet: run `make up` first")
    address = f"http://127.0.0.1:{known['AIRFLOW_PORT']}"
    with exit_on_error(address):
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
    print(f"{name} may sign in at {address} as {role}" + ("" if chosen else f" with the password {password}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
