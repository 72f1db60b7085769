"""What the footer of a Parquet file says: rows and columns, from its last bytes alone.

It is Thrift in the compact protocol. Only what is needed is read, and the rest passed over.
"""

from typing import Any, Final

from dsvc.errors import InvalidInputError

__all__ = ["TAIL", "NotParquetError", "footer_length", "read_footer"]

# The length of the footer, and the magic word.
TAIL: Final = 8
_MAGIC: Final = b"PAR1"
_MOST: Final = 64 << 20
_DEEPEST: Final = 32
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_SCHEMA, _ROWS = 2, 3
_TYPE, _NAME, _CHILDREN, _CONVERTED = 1, 4, 5, 6
_TYPES: Final = ("boolean", "integer", "integer", "time", "number", "number", "bytes", "bytes")
# UTF8, ENUM and JSON; DECIMAL; DATE; times and timestamps.
_CONVERTED_TYPES: Final = {0: "text", 4: "text", 19: "text", 5: "number", 6: "date"} | dict.fromkeys(
    range(7, 11), "time"
)


class NotParquetError(InvalidInputError):
    """Bytes that are no Parquet file."""

    def __init__(self) -> None:
        super().__init__("it is no Parquet file")


def footer_length(tail: bytes) -> int:
    """Return how long the footer is that comes before the last *tail* bytes of a file.

    Raises:
        NotParquetError: It is no Parquet file.
    """
    length = int.from_bytes(tail[:4], "little")
    if len(tail) != TAIL or tail[4:] != _MAGIC or not 0 < length <= _MOST:
        raise NotParquetError
    return length


def read_footer(data: bytes) -> tuple[int, list[tuple[str, str]]]:
    """Return the number of rows, and the name and type of each column at the top.

    Raises:
        NotParquetError: It is no footer.
    """
    try:
        found = _Reader(data).struct({_SCHEMA, _ROWS})
        rows, schema = found[_ROWS], found[_SCHEMA]
        return int(rows), list(_columns(schema))
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise NotParquetError from error


def _columns(schema: list[dict[int, Any]]) -> "list[tuple[str, str]]":
    columns: list[tuple[str, str]] = []
    at = 1
    # The first element is the root, and each is followed by those below it.
    for _ in range(schema[0][_CHILDREN]):
        element = schema[at]
        name = element[_NAME].decode("utf-8", "replace")
        if element.get(_CHILDREN):
            columns.append((name, "object"))
        else:
            stored = _TYPES[element[_TYPE]] if element.get(_TYPE) is not None else "bytes"
            columns.append((name, _CONVERTED_TYPES.get(element.get(_CONVERTED, -1), stored)))
        left = 1
        while left:
            left += (schema[at].get(_CHILDREN) or 0) - 1
            at += 1
    return columns


class _Reader:
    """Values of the compact protocol, one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                message = "a number is too long"
                raise ValueError(message)

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _bytes(self) -> bytes:
        length = self._varint()
        self._at += length
        if self._at > len(self._data):
            message = "a text is cut off"
            raise ValueError(message)
        return self._data[self._at - length : self._at]

    def struct(self, until: set[int] | None = None, depth: int = 0) -> dict[int, Any]:
        """Return the fields by their numbers; once all of *until* were read, no more."""
        if depth > _DEEPEST:
            message = "it is nested too deeply"
            raise ValueError(message)
        fields: dict[int, Any] = {}
        number = 0
        while (header := self._byte()) != _STOP:
            number = number + (header >> 4) if header >> 4 else self._integer()
            fields[number] = self._value(header & 0xF, depth)
            if until is not None and until <= fields.keys():
                break
        return fields

    def _value(self, kind: int, depth: int, *, in_list: bool = False) -> Any:
        if kind in (_TRUE, _FALSE):
            return self._byte() == _TRUE if in_list else kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind == _DOUBLE:
            self._at += 8
            return None
        if kind == _BINARY:
            return self._bytes()
        if kind in (_LIST, _SET):
            header = self._byte()
            count = header >> 4 if header >> 4 < 15 else self._varint()
            if count > len(self._data):
                message = "a list is cut off"
                raise ValueError(message)
            return [self._value(header & 0xF, depth + 1, in_list=True) for _ in range(count)]
        if kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            for _ in range(min(count, len(self._data))):
                self._value(kinds >> 4, depth + 1, in_list=True)
                self._value(kinds & 0xF, depth + 1, in_list=True)
            return None
        if kind == _STRUCT:
            return self.struct(None, depth + 1)
        if kind > _STRUCT:
            message = f"there is no type {kind}"
            raise ValueError(message)
        return self._integer()
