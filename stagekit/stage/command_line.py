"""Read the settings of a stage from its command line, then the environment, and report where each value came from."""

from __future__ import annotations

import logging
import os
from argparse import Action, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import CliSettingsSource, SettingsError

from stagekit.errors import UsageError
from stagekit.serialization import parse_mapping
from stagekit.settings import ENVIRONMENT_PREFIX, StageSettings

Settings = TypeVar("Settings", bound=StageSettings)

_NONE = "\0"
"""What pydantic-settings parses as None; it cannot be typed. Its default is `null`, which may be the name of a run."""
_MAX_SHOWN = 200  # characters of a value in a message, which ends with what was expected

_TYPE_NAMES = {
    "Path": "FOLDER",
    "str": "TEXT",
    "int": "N",
    "float": "NUMBER",
    "tuple[str,...]": "NAME,NAME,…",
    "tuple[int,...]": "N,N,…",
    "dict[str,str]": "NAME=VALUE,…",
}
"""The types in --help, by the names that pydantic-settings gives them."""


log = logging.getLogger(__name__)


class _Help(RawDescriptionHelpFormatter):
    def _metavar_formatter(self, action: Action, default_metavar: str) -> Callable[[int], tuple[str, ...]]:
        names = super()._metavar_formatter(action, default_metavar)
        # A choice of signs like {,,;} is unreadable.
        return lambda count: tuple(_TYPE_NAMES.get(name, "SIGN" if ",," in name else name) for name in names(count))

    def format_help(self) -> str:
        return super().format_help().replace(_NONE, "empty")


def parse(model: type[Settings], arguments: list[str], prog: str) -> Settings:
    """Read settings from the command line, then the environment, then the defaults; `--help` exits with 0.

    Raises
    ------
    UsageError
        A value is invalid; the message names the setting, what was found and what was expected.
    """
    try:
        flags: Any = CliSettingsSource(
            model,
            cli_parse_args=arguments,
            cli_prog_name=prog,
            cli_parse_none_str=_NONE,
            formatter_class=_Help,
            case_sensitive=True,  # or pydantic-settings truncates a value at its first line end
        )
        return model(_cli_settings_source=flags)  # type: ignore[call-arg]
    except ValidationError as error:
        first = {str(item["loc"][0]) if item["loc"] else "": item for item in reversed(error.errors())}  # one per setting
        raise UsageError("; ".join(_explain(model, item) for item in reversed(first.values()))) from None
    except SettingsError as error:
        raise UsageError(f"{str(error).removeprefix('error parsing CLI: ')}; see --help") from None


def _explain(model: type[StageSettings], item: Any) -> str:
    if not item["loc"]:  # settings that contradict each other, which the message names
        return str(item["msg"]).removeprefix("Value error, ")
    name = str(item["loc"][0])
    flag = "--" + name.replace("_", "-")
    if item["type"] == "missing":
        return f"{flag} (or {ENVIRONMENT_PREFIX}{name.upper()}) is required: {model.model_fields[name].description}"
    message = item["msg"].removeprefix("Value error, ")
    found = repr(item["input"])
    if len(found) > _MAX_SHOWN:
        found = f"{found[:_MAX_SHOWN]}…"
    return f"{flag} is {found}: {message[0].lower()}{message[1:]}"


def setting_sources(settings: StageSettings, arguments: list[str]) -> dict[str, str]:
    """Return for every setting where its value came from: `flag`, `environment` or `default`.

    A program that sets the environment may report its own sources in PIPELINE_SOURCES: `k_values=form,n_init=variable`.
    """
    reported: dict[str, str] = parse_mapping(os.environ.get(ENVIRONMENT_PREFIX + "SOURCES", ""))
    flags = {argument.partition("=")[0].replace("--no-", "--") for argument in arguments if argument.startswith("--")}

    def source(name: str) -> str:
        if "--" + name.replace("_", "-") in flags:
            return "flag"
        own = "environment" if os.environ.get(ENVIRONMENT_PREFIX + name.upper()) else "default"
        return reported.get(name, own)

    return {name: source(name) for name in type(settings).model_fields}


def adopt_former_environment(prefix: str) -> None:
    """Rename environment variables that have a former prefix, with a warning; a new name takes precedence."""
    former = [name for name in os.environ if prefix and name.startswith(prefix)]
    for name in former:
        os.environ.setdefault(ENVIRONMENT_PREFIX + name.removeprefix(prefix), os.environ.pop(name))
    if former:
        log.warning("%s: rename to %s..., the former prefix will be removed", ", ".join(sorted(former)), ENVIRONMENT_PREFIX)
