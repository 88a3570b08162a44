"""The two setups of SECURITY.md that the shared test stack lacks: behind a TLS proxy, and stages on another engine."""

import os
import re
import subprocess

import pytest
import requests

from tests.chaos.airflow import Airflow
from tests.chaos.engine import missing_requirements
from tests.docker.commands import docker

pytestmark = pytest.mark.needs_docker


def test_behind_a_proxy_with_tls_no_cookie_is_sent_without_it(airflow: Airflow) -> None:
    browser = requests.Session()
    form = f"{airflow.stack.address}/auth/login/"
    by_tls = {"X-Forwarded-Proto": "https", "Host": "segments.example"}
    page = browser.get(form, headers=by_tls, timeout=30)
    token = re.search('name="csrf_token"[^>]*value="([^"]*)"', page.text)
    assert token
    # This client uses no TLS, so it would not send a secure cookie.
    sent = by_tls | {
        "Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies),
        "Referer": "https://segments.example/auth/login/",
    }
    entered = {"username": "admin", "password": airflow.stack.secrets["AIRFLOW_ADMIN_PASSWORD"], "csrf_token": token[1]}
    answer = requests.post(form, data=entered, headers=sent, allow_redirects=False, timeout=30)
    assert answer.status_code == 302, answer.text
    cookies = {cookie.name: cookie for cookie in [*browser.cookies, *answer.cookies]}
    assert set(cookies) == {"session", "_token"}
    for cookie in cookies.values():
        assert cookie.secure
        assert cookie.has_nonstandard_attr("HttpOnly") or cookie.has_nonstandard_attr("httponly")


@pytest.mark.skipif(bool(missing_requirements()), reason=missing_requirements())
def test_a_scheduler_whose_stages_run_on_another_engine_has_no_socket(airflow: Airflow) -> None:
    scheduler = airflow.stack.containers()["scheduler"]
    assert not [mount for mount in scheduler["Mounts"] if mount["Source"].endswith(".sock")]
    assert docker("exec", scheduler["Id"], "sh", "-c", "test -S /var/run/docker.sock || echo none") == "none"


@pytest.mark.skipif(bool(missing_requirements()), reason=missing_requirements())
def test_another_engine_rejects_clients_without_a_certificate(airflow: Airflow) -> None:
    assert airflow.engine
    address, folder = airflow.engine.variables.values()
    plain = {"DOCKER_HOST": address, "DOCKER_TLS_VERIFY": "", "DOCKER_CERT_PATH": ""}
    without = plain | {"DOCKER_TLS": "1", "DOCKER_CERT_PATH": str(airflow.engine.folder / "nothing")}
    with_one = plain | {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": folder}
    asked = [
        subprocess.run(["docker", "version"], env=os.environ | variables, capture_output=True).returncode
        for variables in (plain, without, with_one)
    ]
    assert asked[0] != 0
    assert asked[1] != 0
    assert asked[2] == 0
