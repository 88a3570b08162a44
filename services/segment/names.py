"""Name segments: shortly, from their profile, and never two the same; the user's names go before ours."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.segment.profiles import Profile
from stagekit.errors import DataError

_TRAITS = 2  # in a name, unless it takes more to be unique
_LONGEST = 80


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
    chosen_keys = {_key(name) for name in chosen.values()}
    taken = {_key(name) for name in known.values()} | chosen_keys
    names = {}
    for segment_id, profile in sorted(zip(segment_ids, profiles, strict=True), key=lambda item: item[0]):
        name = chosen.get(segment_id) or known.get(segment_id) or _name_from_profile(profile, segment_id, taken)
        if segment_id not in chosen and _key(name) in chosen_keys:  # the user calls another segment so
            name = _numbered(name, segment_id, taken)
        taken.add(_key(name))
        names[segment_id] = name
    return [names[segment_id] for segment_id in segment_ids]


def name_warnings(chosen: Mapping[int, str], known: Collection[int]) -> Iterator[str]:
    """Yield a warning if the user names segments that no run has made.

    Parameters
    ----------
    chosen : names by segment id that the user gives
    known : the segment ids that this and all earlier runs have given
    """
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        shown = ", ".join(map(str, unknown[:10])) + (", …" if len(unknown) > 10 else "")
        yield (
            f"the names file names {len(unknown)} segment{'s' if len(unknown) > 1 else ''} that no run has made ({shown}): "
            f"correct segment_id; the ids of this and earlier runs go from 1 to {max(known, default=0)}"
        )


def _key(name: str) -> tuple[str, ...]:
    """Return what two names that read alike have in common: their parts without regard to order and case."""
    return tuple(sorted(name.casefold().split(", ")))


def _name_from_profile(profile: Profile, segment_id: int, taken: Collection[tuple[str, ...]]) -> str:
    """Make a name of the ones that set a cluster apart, of as many as it takes to be unique."""
    phrases = [f"{one.level} {one.label}" for one in profile.features if one.level != "average"]
    averages = [f"{one.level} {one.label}" for one in profile.features if one.level == "average"]
    n_parts = min(len(phrases), _TRAITS) or 1
    parts = [*(phrases or ["average customers"]), *averages]
    for end in range(n_parts, len(parts) + 1):
        name = ", ".join(parts[:end])
        if end > n_parts and len(name) > _LONGEST:
            break
        if _key(name) not in taken:
            return name
    return _numbered(", ".join(parts[:n_parts]), segment_id, taken)


def _numbered(name: str, segment_id: int, taken: Collection[tuple[str, ...]]) -> str:
    numbered = f"{name} ({segment_id})"
    while _key(numbered) in taken:
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
