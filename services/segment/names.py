"""Name segments: shortly, from their profile, and never two alike; names that the user gives take precedence.

A generated name consists of phrases like `high balance`. It stays from run to run as long as every phrase fits the segment, and
is replaced otherwise. A user's name always stays; there is a warning if a phrase in it contradicts the segment.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from services.segment.profiles import EFFECT, LARGE_EFFECT, FeatureProfile, Profile
from stagekit.errors import DataError

_N_PHRASES = 2  # in a name, unless more are needed to make it unique
_MAX_LENGTH = 80
_AVERAGE = "average customers"

_PHRASE = re.compile(r"(very low|low|average|high|very high) (.+)")
_NUMBER = re.compile(r" \([\d-]+\)$")


def make_names(
    profiles: Sequence[Profile], segment_ids: Sequence[int], known_names: Mapping[int, str], user_names: Mapping[int, str]
) -> list[str]:
    """Name each segment: as the user does, by its known name if that still fits, or else from its profile.

    Parameters
    ----------
    profiles : sequence of Profile
    segment_ids : sequence of int
        The ids of the segments with these profiles.
    known_names : dict of segment id to name
        The generated names of all segments that there have ever been. No other segment gets one that looks like it.
    user_names : dict of segment id to name

    Returns
    -------
    list of str
        In the order of the profiles.
    """
    user_keys = {name_key(name) for name in user_names.values()}
    known_keys = {name_key(name) for name in known_names.values()}
    names: dict[int, str] = {}
    for segment_id, profile in sorted(zip(segment_ids, profiles, strict=True), key=lambda item: item[0]):
        given_keys = user_keys | {name_key(name) for name in names.values()}
        used_keys = known_keys | given_keys
        known = known_names.get(segment_id, "")
        if segment_id in user_names:
            names[segment_id] = user_names[segment_id]
        elif not is_fitting(known, profile):
            names[segment_id] = _name_from_profile(profile, segment_id, used_keys)
        else:
            names[segment_id] = known if name_key(known) not in given_keys else _numbered(known, segment_id, used_keys)
    return [names[segment_id] for segment_id in segment_ids]


def is_fitting(name: str, profile: Profile) -> bool:
    """Return whether every phrase of a generated name still describes a segment.

    To keep names stable, a phrase fits until the effect of its feature is below half of the smallest one that it is given for,
    or, if the phrase is `average`, above twice the largest one. A phrase about a column that is not a feature does not fit.
    """
    name = _NUMBER.sub("", name)
    if name == _AVERAGE:
        return all(_fits("average", one) for one in profile.features)
    phrases = [_PHRASE.fullmatch(text) for text in name.split(", ")]
    return all(
        phrase and any(feature.label == phrase[2] and _fits(phrase[1], feature) for feature in profile.features)
        for phrase in phrases
    )


def _fits(level: str, feature: FeatureProfile) -> bool:
    if level == "average":
        return not abs(feature.effect) > 2 * EFFECT
    effect = feature.effect if level.endswith("high") else -feature.effect
    return effect >= (LARGE_EFFECT if level.startswith("very") else EFFECT) / 2


def name_key(name: str) -> tuple[str, ...]:
    """Return a key that names share if they look alike: equal apart from case, blanks, punctuation and order."""
    letters = (re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", part).casefold()) for part in re.split(r"[,;]", name))
    return tuple(sorted(filter(None, letters))) or (name,)


def name_warnings(user_names: Mapping[int, str], profiles: Mapping[int, Profile], known_ids: Collection[int]) -> Iterator[str]:
    """Yield a warning for names of segments that no run has made, and for each name that contradicts its segment.

    Parameters
    ----------
    user_names : dict of segment id to name
        Names that the user gives.
    profiles : dict of segment id to Profile
        The current segments.
    known_ids : collection of int
        The segment ids that this and all earlier runs have given.
    """
    unknown = sorted(set(user_names) - set(known_ids))
    if unknown:
        shown = ", ".join(map(str, unknown[:10])) + (", …" if len(unknown) > 10 else "")
        yield (
            f"the names file names {len(unknown)} segment{'s' if len(unknown) > 1 else ''} that no run has made ({shown}): "
            f"correct segment_id; the ids of this and earlier runs go from 1 to {max(known_ids, default=0)}"
        )
    for segment_id in sorted(set(user_names) & set(profiles)):
        for feature in _contradicted(user_names[segment_id], profiles[segment_id]):
            yield (
                f"the names file calls segment {segment_id} {user_names[segment_id]!r}, but {feature.feature} is "
                f"{feature.level} there: the name is kept; change it if it misleads"
            )


def _contradicted(name: str, profile: Profile) -> Iterator[FeatureProfile]:
    """Yield the features that a name calls high although they are low, or low although they are high."""
    words = " ".join(re.sub(r"[\W_]+", " ", name.casefold()).split())
    for feature in profile.features:
        for direction, opposite in (("high|many", "low"), ("low|few", "high")):
            if feature.level.endswith(opposite) and re.search(rf"\b({direction}) {re.escape(feature.label)}\b", words):
                yield feature


def rename_notes(names: Mapping[int, str], previous_names: Mapping[int, str], user_names: Mapping[int, str]) -> Iterator[str]:
    """Yield a note for each segment whose generated name differs from its previous name.

    Parameters
    ----------
    names, previous_names : dict of segment id to name
        The current segments, and those that the previous run published.
    user_names : dict of segment id to name
        Names that the user gives; the user knows that they have changed.
    """
    for segment_id, name in sorted(names.items()):
        former = previous_names.get(segment_id, name)
        if former != name and segment_id not in user_names:
            yield f"segment {segment_id} is now called {name!r}, formerly {former!r}"


def _name_from_profile(profile: Profile, segment_id: int, used_keys: Collection[tuple[str, ...]]) -> str:
    """Make a name of the phrases that distinguish a segment, of as many as are needed to be unique."""
    phrases = [f"{one.level} {one.label}" for one in profile.features if one.level != "average"]
    averages = [f"{one.level} {one.label}" for one in profile.features if one.level == "average"]
    n_phrases = min(len(phrases), _N_PHRASES) or 1
    parts = [*(phrases or [_AVERAGE]), *averages]
    for end in range(n_phrases, len(parts) + 1):
        name = ", ".join(parts[:end])
        if end > n_phrases and len(name) > _MAX_LENGTH:
            break
        if name_key(name) not in used_keys:
            return name
    return _numbered(", ".join(parts[:n_phrases]), segment_id, used_keys)


def _numbered(name: str, segment_id: int, used_keys: Collection[tuple[str, ...]]) -> str:
    """Append the segment id to a name, and a second number if another name looks like that."""
    numbered = (f"{name} ({segment_id})" if number == 1 else f"{name} ({segment_id}-{number})" for number in count(1))
    return next(one for one in numbered if name_key(one) not in used_keys)


def read_names(path: Path) -> dict[int, str]:
    """Read a file of names: CSV with the columns segment_id and name; other columns are ignored.

    Raises
    ------
    DataError
        The file is malformed; the message names the row and the value.
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
                    raise DataError(f"{where}: segment_id {segment_id} occurs twice: leave one of them")
                alike = next((other for other, used in names.items() if name_key(used) == name_key(name)), None)
                if alike is not None:
                    raise DataError(
                        f"{where}: name {name!r} looks like {names[alike]!r} of segment {alike}: each needs its own name"
                    )
                names[segment_id] = name
        except csv.Error as error:
            raise DataError(f"{path.name} row {reader.reader.line_num}: {error}: is a quote not closed?") from None
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
    if not name or len(name) > _MAX_LENGTH or not name.isprintable():
        raise DataError(f"{where}: name is {name[:40]!r}, expected 1 to {_MAX_LENGTH} printable characters")
    return int(text), name
