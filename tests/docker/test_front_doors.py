"""Access: the engine from each service, logins by guessing, secrets in images."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.docker.commands import REPOSITORY, TAG, docker
from tests.docker.stack import Stack
from tests.docker.test_images import STAGES

pytestmark = pytest.mark.needs_docker

PRIVATE = [r"\.env.*", r"\.netrc", r"\.pypirc", r"pip\.conf", "id_rsa", "id_ed25519", r".*-key\.pem", r"\.git/config"]
ASK_THE_ENGINE = """
import docker, socket, sys
addresses = [None, "unix:///var/run/docker.sock", "unix:///run/docker.sock", "unix:///run/containerd/containerd.sock"]
gateway = next(line.split()[2] for line in open("/proc/net/route") if line.split()[1] == "00000000")
gateway = socket.inet_ntoa(bytes.fromhex(gateway)[::-1])
addresses += [f"tcp://{host}:{port}" for host in (gateway, "host.docker.internal", "scheduler") for port in (2375, 2376)]
for address in addresses:
    try:
        docker.APIClient(*([address] if address else []), timeout=2).ping()
        print("answers")
    except docker.errors.DockerException:
        print("silent")
"""
GUESS_AT_ONCE = """
import json, urllib.request, urllib.error
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
def status(n):
    body = json.dumps({"username": "admin", "password": str(n)}).encode()
    try:
        request = urllib.request.Request("http://api-server:8080/auth/token", body, {"Content-Type": "application/json"})
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code
print(json.dumps(Counter(ThreadPoolExecutor(60).map(status, range(200)))))
"""
GUESS = """
import json, re, sys, urllib.request, urllib.error, urllib.parse, http.cookiejar
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
def status(path, body, kind):
    try:
        request = urllib.request.Request("http://api-server:8080" + path, body.encode(), {"Content-Type": kind})
        return browser.open(request).status
    except urllib.error.HTTPError as error:
        return error.code
statuses = [status("/auth/token", json.dumps({"username": "admin", "password": str(n)}), "application/json") for n in range(7)]
page = browser.open("http://api-server:8080/auth/login/").read().decode()
token = re.search('name="csrf_token"[^>]*value="([^"]*)"', page)[1]
form = [urllib.parse.urlencode({"username": "admin", "password": str(n), "csrf_token": token}) for n in range(7)]
statuses += [status("/auth/login/", body, "application/x-www-form-urlencoded") for body in form]
print(json.dumps(statuses))
"""


def python(stack: Stack, service: str, code: str) -> list[str]:
    return docker("exec", stack.containers()[service]["Id"], "python3", "-c", code).splitlines()


def test_the_scheduler_reaches_the_docker_engine_and_no_other_service_does(stack: Stack) -> None:
    assert "answers" in python(stack, "scheduler", ASK_THE_ENGINE)
    for service in ("api-server", "dag-processor"):
        assert set(python(stack, service, ASK_THE_ENGINE)) == {"silent"}
    for service in ("postgres", "api-server", "dag-processor"):
        found = docker("exec", stack.containers()[service]["Id"], "find", "/run", "/var/run/", "-name", "*.sock", "-type", "s")
        assert not re.search("docker|containerd", found)


def test_guessing_passwords_is_limited_for_the_form_and_the_token_together(stack: Stack) -> None:
    # From another container, so that the limit applies to its address.
    (statuses,) = python(stack, "dag-processor", GUESS)
    by_token, by_form = json.loads(statuses)[:7], json.loads(statuses)[7:]
    assert by_token == [401] * 5 + [429] * 2
    assert by_form == [429] * 7, "the form and the token share one count"
    stack.client()  # signs in with the right password, from another address


def test_of_two_hundred_concurrent_guesses_five_are_checked(stack: Stack) -> None:
    # From a container that no other test uses for guesses.
    (statuses,) = python(stack, "scheduler", GUESS_AT_ONCE)
    assert json.loads(statuses) == {"401": 5, "429": 195}


@pytest.mark.parametrize("image", [*STAGES, "airflow"])
def test_an_image_holds_no_secret(images: None, image: str) -> None:
    name = f"customer-segmentation/{image}:{TAG}"
    history = docker("history", "--no-trunc", "--format={{.CreatedBy}}", name)
    variables = json.loads(docker("image", "inspect", "--format={{json .Config.Env}}", name))
    suspicious = r"(?i)(password|passwd|secret|token|credential|private|_key)\w*="
    public = "GPG_KEY="  # whose signature the sources of Python in the official image carry
    assert not re.findall(suspicious, history.replace(public, ""))
    assert not [entry for entry in variables if re.match(suspicious, entry) and not entry.startswith(public)]
    script = f"find / -xdev -type f | grep -E '/({'|'.join(PRIVATE)})$' || true"
    found = docker("run", "--rm", "--network=none", "--user=0", "--entrypoint=sh", name, "-c", script)
    assert found == ""


def test_secrets_of_this_machine_are_not_in_the_repository(stack: Stack) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    files = [REPOSITORY / name for name in tracked.split("\0") if name]
    assert not [file for file in files if file.name.startswith(".env") or file.suffix in {".pem", ".key"}]
    secrets = [value.encode() for name, value in stack.secrets.items() if name.endswith(("PASSWORD", "KEY", "SECRET"))]
    assert not [file for file in files if any(secret in file.read_bytes() for secret in secrets)]
    assert Path(stack.variables["ENV_FILE"]).stat().st_mode & 0o777 == 0o600
    ignored = subprocess.run(["git", "check-ignore", ".env"], cwd=REPOSITORY, capture_output=True)
    assert ignored.returncode == 0
