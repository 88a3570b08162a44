"""Name segments: shortly, from their profile, and never two the same; the user's names go before ours."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.contract.errors import DataError
from services.segment.profiles import Profile, Trait

_TRAITS = 2  # in a name, unless it takes more to be unique
_LONGEST = 80
_COUNTED = {"high": "many", "very high": "very many", "low": "few", "very low": "very few"}


def make_names(
    profiles: Sequence[Profile], segment_ids: Sequence[int], known: Mapping[int, str], chosen: Mapping[int, str]
) -> list[str]:
    """Name each segment: as the user chose, as it was named before, or after its profile.

    Parameters
    ----------
    profiles : of the segments with these ids
    known : every name that we have ever given, by segment id; none of them is given to another segment
    chosen : names by segment id that the user gives
    """
    chosen_texts = {name.casefold() for name in chosen.values()}
    taken = {name.casefold() for name in known.values()} | chosen_texts
    names = {}
    for segment_id, profile in sorted(zip(segment_ids, profiles, strict=True), key=lambda item: item[0]):
        name = chosen.get(segment_id) or known.get(segment_id) or _name_after(profile, segment_id, taken)
        if segment_id not in chosen and name.casefold() in chosen_texts:  # the user calls another segment so
            name = _numbered(name, segment_id, taken)
        taken.add(name.casefold())
        names[segment_id] = name
    return [names[segment_id] for segment_id in segment_ids]


def _name_after(profile: Profile, segment_id: int, taken: Collection[str]) -> str:
    """Make a name of the traits that set a cluster apart, of as many as it takes to be unique."""
    telling = [_phrase(trait) for trait in profile.traits if trait.level != "average"]
    others = [_phrase(trait) for trait in profile.traits if trait.level == "average"]
    parts = telling[:_TRAITS] or ["average customers"]
    more = iter([*telling[_TRAITS:], *others])
    name = ", ".join(parts)
    while name.casefold() in taken:
        parts.append(next(more, ""))
        if not parts[-1] or len(", ".join(parts)) > _LONGEST:
            return _numbered(", ".join(parts[:_TRAITS]), segment_id, taken)
        name = ", ".join(parts)
    return name


def _phrase(trait: Trait) -> str:
    """Say `few purchases` and `low balance`: what is counted is many or few."""
    is_plural = trait.words.endswith("s") and not trait.words.endswith("ss")
    return f"{_COUNTED.get(trait.level, trait.level) if is_plural else trait.level} {trait.words}"


def _numbered(name: str, segment_id: int, taken: Collection[str]) -> str:
    numbered = f"{name} ({segment_id})"
    while numbered.casefold() in taken:
        numbered += "'"
    return numbered


def read_names(path: Path) -> dict[int, str]:
    """Read a file of names: CSV with the columns segment_id and name; others are left alone.

    Raises DataError that names the row and what is wrong with it.
    """
    names: dict[int, str] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            missing = {"segment_id", "name"} - set(reader.fieldnames or ())
            if missing:
                found = ", ".join(map(repr, reader.fieldnames or ())) or "nothing"
                raise DataError(f"{path.name} row 1: column {min(missing)!r} is missing; it has {found}")
            for row in reader:
                where = f"{path.name} row {reader.line_num}"
                segment_id, name = _check(row, where)
                if segment_id in names:
                    raise DataError(f"{where}: segment_id {segment_id} stands twice: leave one of them")
                if name.casefold() in {other.casefold() for other in names.values()}:
                    raise DataError(f"{where}: name {name!r} stands twice: every segment needs one of its own")
                names[segment_id] = name
        except csv.Error as error:
            raise DataError(f"{path.name} row {reader.reader.line_num}: {error}: is a quote left open?") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{path.name}: byte 0x{error.object[error.start]:02x} is not UTF-8: save it as UTF-8") from None
    return names


def _check(row: dict[Any, Any], where: str) -> tuple[int, str]:
    text, name = row["segment_id"], row["name"]
    if None in row or not isinstance(text, str) or not isinstance(name, str):
        raise DataError(f"{where}: too many or too few fields: expected one for each column; quote a name with a comma")
    text, name = text.strip(), " ".join(name.split())
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise DataError(f"{where}: segment_id is {text[:40]!r}, expected a number from 1")
    if not name or len(name) > _LONGEST or not name.isprintable():
        raise DataError(f"{where}: name is {name[:40]!r}, expected 1 to {_LONGEST} characters that can be printed")
    return int(text), name
