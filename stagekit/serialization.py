"""How a setting's value is written as text, in a flag or an environment variable, and parsed again."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

VOLUME_PATH = r"^([^/\x00]*[^/.\x00][^/\x00]*/)*[^/\x00]*[^/.\x00][^/\x00]*$"
"""Pattern of a path inside the volume: names between slashes, each with a character other than a dot."""


def parse_list(value: Any) -> Any:
    """Parse `2,3,4`, which people type, or `[2, 3, 4]`, which programs send; anything but text is returned unchanged."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return []
    if text.startswith("["):
        with suppress(json.JSONDecodeError):
            return json.loads(text)
    return [part.strip(" \"'") for part in text.removeprefix("[").removesuffix("]").split(",")]


def parse_integers(value: Any) -> Any:
    """Parse `2-5,8` into the integers 2, 3, 4, 5 and 8; anything but text is returned unchanged."""
    if not isinstance(value, str):
        return value
    items: list[Any] = []
    for item in parse_list(value):
        bounds = re.fullmatch(r"(\d{1,4})\s*-\s*(\d{1,4})", str(item))
        is_range = bounds and int(bounds[1]) <= int(bounds[2])
        items += range(int(bounds[1]), int(bounds[2]) + 1) if bounds and is_range else [item]
    return items


def parse_mapping(value: Any) -> Any:
    """Parse `extract=ab12,train=cd34` into a dictionary; anything but text is returned unchanged."""
    if not isinstance(value, str):
        return value
    return dict(pair.strip().partition("=")[::2] for pair in value.split(",") if pair.strip())


def to_text(value: Any) -> str:
    """Format a setting's JSON value for a flag or an environment variable."""
    if isinstance(value, dict):
        return ",".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        text = ",".join(str(item) for item in value)
        # A name with a comma, a quote or blanks at its ends survives only as JSON.
        return text if parse_list(text) == [str(item) for item in value] else json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON makes no difference between 1e22 and the integer, but the text "1e+22" is no integer
    return str(value).lower() if isinstance(value, bool) else str(value)


def to_flag(name: str, value: Any) -> str:
    """Format a setting's JSON value as a command-line argument."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag}={to_text(value)}"
