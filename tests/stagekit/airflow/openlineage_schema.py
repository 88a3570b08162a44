"""Validation of OpenLineage events against the schema, as the classes declare it that openlineage-python generates from it.

Each class names the version of the schema that it was generated from (`_get_schema`), its fields and which are required. The
schema files themselves are not part of the package.
"""

import importlib
import pkgutil
import types
import typing
from enum import Enum
from typing import Any

import attr
from openlineage.client import generated
from openlineage.client.generated.base import BaseFacet, RunEvent


def facet_classes() -> dict[str, type]:
    """Map the URL of each facet's schema to its class."""
    for module in pkgutil.iter_modules(generated.__path__):
        importlib.import_module(f"{generated.__name__}.{module.name}")
    known, todo = {}, [BaseFacet]
    while todo:
        todo += (kind := todo.pop()).__subclasses__()
        known[kind._get_schema()] = kind
    return known


def check_event(event: dict[str, Any]) -> list[str]:
    """Validate an event of a run, with every facet that OpenLineage itself defines; returns the schemas that were applied.

    Raises AssertionError that names the place of what does not conform.
    """
    applied: list[str] = []
    _check(event, RunEvent, "event", facet_classes(), applied)
    return applied


def _check(value: Any, wanted: Any, where: str, facets: dict[str, type], applied: list[str]) -> None:
    arguments = typing.get_args(wanted)
    if wanted is Any:
        return
    if isinstance(wanted, types.UnionType) or typing.get_origin(wanted) is typing.Union:
        if value is None:
            assert type(None) in arguments, f"{where} is null"
            return
        [wanted] = [one for one in arguments if one is not type(None)]
        _check(value, wanted, where, facets, applied)
    elif typing.get_origin(wanted) is list:
        assert isinstance(value, list), f"{where} is no list"
        for number, item in enumerate(value):
            _check(item, arguments[0], f"{where}[{number}]", facets, applied)
    elif typing.get_origin(wanted) is dict:
        assert isinstance(value, dict), f"{where} is no object"
        for name, item in value.items():
            _check(item, arguments[1], f"{where}.{name}", facets, applied)
    elif attr.has(wanted):
        _check_object(value, wanted, where, facets, applied)
    elif isinstance(wanted, type) and issubclass(wanted, Enum):
        assert value in {member.value for member in wanted}, f"{where} is {value!r}"
    else:
        assert type(value) in ((int, float) if wanted is float else (wanted,)), f"{where} is {value!r}, expected {wanted}"


def _check_object(value: Any, kind: type, where: str, facets: dict[str, type], applied: list[str]) -> None:
    assert isinstance(value, dict), f"{where} is no object"
    if issubclass(kind, BaseFacet):
        assert {"_producer", "_schemaURL"} <= set(value), f"{where} names no producer or no schema"
        if "openlineage.io/spec/" in value["_schemaURL"]:  # others are the provider's own
            assert value["_schemaURL"] in facets, f"{where} names the schema {value['_schemaURL']}, which is not known"
            kind = facets[value["_schemaURL"]]
    schema = getattr(kind, "_get_schema", lambda: kind.__name__)()
    applied.append(schema)
    hints = typing.get_type_hints(kind)
    for field in attr.fields(kind):
        if field.name in value:
            _check(value[field.name], hints[field.name], f"{where}.{field.name}", facets, applied)
        else:
            assert field.default is not attr.NOTHING, f"{where} lacks {field.name}"
    if "/OpenLineage.json#" in schema and not issubclass(kind, BaseFacet):  # facets may be extended
        unknown = set(value) - {field.name for field in attr.fields(kind)}
        assert not unknown, f"{where} has {unknown}, which the schema does not"
    if kind is RunEvent:  # formats, which the classes check themselves
        RunEvent(eventTime=value["eventTime"], producer=value["producer"], run=_run(value["run"]), job=None)
        assert value["schemaURL"] == RunEvent._get_schema()


def _run(value: dict[str, Any]) -> Any:
    return typing.get_type_hints(RunEvent)["run"](runId=value["runId"])
