"""Add a user of Airflow.

    python3 docker/create_user.py .env ana Viewer

The password is prompted for, or read from stdin if that is not a terminal. If it is empty, one is generated and printed once.
It is never part of a command line, which every user of the machine who can list processes could read.
"""

import getpass
import secrets
import sys
from pathlib import Path

from trigger_run import sign_in
from write_env import MIN_PASSWORD  # the files beside this one


def ask_for_password(name: str) -> str:
    """Read the password from the terminal or from stdin; generate one if it is empty."""
    is_terminal = sys.stdin.isatty()
    prompt = f"Password for {name}, at least {MIN_PASSWORD} characters (empty: generate one): "
    password = getpass.getpass(prompt) if is_terminal else sys.stdin.readline().rstrip("\n")
    if 0 < len(password) < MIN_PASSWORD:
        sys.exit(
            f"the password has {len(password)} characters, expected at least {MIN_PASSWORD}: "
            "take several words, or leave it empty to have one generated; nothing was changed"
        )
    if password and len(set(password)) < 5:
        sys.exit(f"the password has {len(set(password))} different characters, expected at least 5; nothing was changed")
    if is_terminal and password and password != getpass.getpass("Repeat the password: "):
        sys.exit("the passwords differ: nothing was changed")
    return password


def main(environment: Path, name: str, role: str) -> None:
    """Create the user in Airflow."""
    with sign_in(environment) as airflow:
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
    print(f"{name} may sign in at {airflow.address} as {role}" + ("" if chosen else f" with the password {password}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
