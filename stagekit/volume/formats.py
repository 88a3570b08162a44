"""How the content of an artifact is written and read: JSON, text, or a pickle with an allow-list.

Every artifact declares its format. There is no default: a pickle is only ever read with the classes that its format lists.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from stagekit.errors import DataError


@dataclass(frozen=True)
class Format:
    """A way to write and read the content of an artifact."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    libraries: tuple[str, ...] = ()
    """Libraries of which the reader needs the version that wrote the artifact."""

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write a value."""
        file.write(self.encode(value))

    def load(self, file: IO[bytes], name: str) -> Any:
        """Read the value; `name` is the artifact's name in error messages.

        Raises
        ------
        DataError
            The content does not have this format.
        """
        try:
            return self.decode(file.read())
        except ValueError as error:
            raise DataError(f"{name} cannot be read ({error}): run the stage that writes it again") from None


def _encode_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class PickleFormat:
    """A pickle that may name the listed classes and functions, and nothing else."""

    allowed: frozenset[tuple[str, str]]
    """Module and name of everything that the pickle may refer to."""
    libraries: tuple[str, ...]

    def dump(self, value: Any, file: BinaryIO) -> None:
        pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)

    def load(self, file: IO[bytes], name: str) -> Any:
        try:
            return _AllowListUnpickler(file, self.allowed).load()
        except MemoryError:
            raise
        except Exception as error:  # a broken pickle can raise nearly anything
            raise DataError(f"{name} cannot be unpickled: {error}; run the stage that writes it again") from error


class _AllowListUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], allowed: frozenset[tuple[str, str]]) -> None:
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which this pipeline never writes")
        return super().find_class(module, name)


JSON = Format(_encode_json, json.loads)
"""JSON, indented for people; NaN and infinities, which JSON does not have, raise ValueError."""
TEXT = Format(str.encode, bytes.decode)
"""Text in UTF-8, such as CSV or HTML."""
BINARY = Format(bytes, bytes)
"""Bytes, for files that another library writes and reads, such as Parquet."""
