"""What `dsvc meta set` reads from files: an object, or rows that say something of files."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from dsvc.cli.errors import Failure
from dsvc.errors import InvalidInputError
from dsvc.history.metadata import assignment, patched
from dsvc.model.canonical_json import Json, JsonObject, encode_canonical
from dsvc.model.paths import validate_path

__all__ = ["read_object", "read_rows"]

_COLUMN: Final = "path"
_NOT_FOUND: Final = 4


def read_object(file: Path) -> JsonObject:
    """Return the JSON object in *file*; `-` is stdin.

    Raises:
        InvalidInputError: It holds none, or one that cannot be kept.
        Failure: It cannot be read.
    """
    found = _parsed(_text(file), str(file))
    if not isinstance(found, dict):
        message = f"{file} holds no JSON object"
        raise InvalidInputError(message)
    encode_canonical(found)
    return found


def _parsed(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{where} is not JSON: {error}"
        raise InvalidInputError(message) from error


def _text(file: Path) -> str:
    try:
        return (sys.stdin.buffer.read() if file == Path("-") else file.read_bytes()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{file} is not UTF-8"
        raise InvalidInputError(message) from error
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
        raise Failure(message, code=_NOT_FOUND if isinstance(error, FileNotFoundError) else 7) from error


def read_rows(file: Path) -> dict[bytes, JsonObject]:
    """Return what the rows of *file* say of each path from the root.

    In CSV and TSV, an empty field says nothing, and dots in the names of columns lead into objects.

    Raises:
        InvalidInputError: A row names no path, or says what cannot be kept.
        Failure: It cannot be read.
    """
    found: dict[bytes, JsonObject] = {}
    text = _text(file)
    rows = _json_lines(text, file) if file.suffix in (".jsonl", ".ndjson") else _separated(text, file)
    for number, row in rows:
        path = row.get(_COLUMN)
        if not isinstance(path, str) or not path:
            message = f"{file}, line {number}: there is no `{_COLUMN}`"
            raise InvalidInputError(message)
        patch = {key: value for key, value in row.items() if key != _COLUMN}
        encode_canonical(patch)
        key = path.encode("utf-8", "surrogateescape")
        validate_path(key)
        found[key] = patched(found.get(key, {}), patch)
    return found


def _separated(text: str, file: Path) -> Iterator[tuple[int, Mapping[str, Json]]]:
    reader = csv.DictReader(
        text.splitlines(keepends=True), delimiter="\t" if file.suffix == ".tsv" else ",", strict=True
    )
    try:
        for row in reader:
            if None in row or None in row.values():
                message = f"{file}, line {reader.line_num}: it has not as many fields as the first line"
                raise InvalidInputError(message)
            said: JsonObject = {_COLUMN: row.pop(_COLUMN, "")}
            for column, field in row.items():
                if field:
                    said = patched(said, assignment(f"{column}={field}"))
            yield reader.line_num, said
    except csv.Error as error:
        message = f"{file}, line {reader.line_num}: {error}"
        raise InvalidInputError(message) from error


def _json_lines(text: str, file: Path) -> Iterator[tuple[int, Mapping[str, Json]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            message = f"{file}, line {number}: it is not JSON: {error}"
            raise InvalidInputError(message) from error
        if not isinstance(row, dict):
            message = f"{file}, line {number}: it is no JSON object"
            raise InvalidInputError(message)
        yield number, row
