"""Fixtures with Airflow's api-server with the plugin, on a temporary database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def airflow_app() -> Any:
    from airflow import models, settings
    from airflow.api_fastapi.app import create_app

    models.import_all_models()
    models.base.Base.metadata.create_all(settings.engine)
    return create_app(apps="core")


@pytest.fixture
def browser(airflow_app: Any) -> Any:
    """A client of Airflow that has not signed in."""
    from fastapi.testclient import TestClient

    return TestClient(airflow_app)


@pytest.fixture
def token(airflow_app: Any) -> Callable[[str | None], str]:
    """A function that returns the token of a user with a role."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return lambda role: get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ana", role=role))


@pytest.fixture
def viewer(browser: Any, token: Callable[[str | None], str]) -> Any:
    """The client, signed in as a user who may see everything and change nothing."""
    browser.cookies.set("_token", token("VIEWER"))
    return browser
