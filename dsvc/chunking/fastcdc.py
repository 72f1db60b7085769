"""Content-defined cutting: FastCDC 2020, with constants that belong to the format version.

Equal files must give equal chunks on every machine for ever, so nothing here is an option:
64 KiB at least, 1 MiB at most, normal size 256 KiB, normalisation level 1, and the gear
table and masks of the reference implementation (dsvc-format(5) has golden vectors).

Source: Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication
Based Storage Systems", IEEE TPDS 31(9), 2020.
"""

from typing import Final

import pyfastcdc

from dsvc.errors import RefusedError

__all__ = ["MAX_CHUNK", "MIN_CHUNK", "NORMAL_CHUNK", "Cutter", "SlowChunkerError"]

MIN_CHUNK: Final = 64 * 1024
NORMAL_CHUNK: Final = 256 * 1024
MAX_CHUNK: Final = 1024 * 1024
NORMALISATION: Final = 1


class SlowChunkerError(RefusedError):
    """The compiled chunker is missing; the pure Python one has 1 % of its speed."""

    def __init__(self) -> None:
        super().__init__("the installed pyfastcdc lacks its compiled part, and would take a hundred times as long")


class Cutter:
    """Finds cut points. Holds no state between calls; use one in each thread."""

    def __init__(self) -> None:
        # pyfastcdc falls back to pure Python without a word.
        if not pyfastcdc.FastCDC.__module__.startswith("pyfastcdc.cy"):
            raise SlowChunkerError
        self._fastcdc = pyfastcdc.FastCDC(
            NORMAL_CHUNK,
            min_size=MIN_CHUNK,
            max_size=MAX_CHUNK,
            normalized_chunking=NORMALISATION,
        )

    def cut(self, data: bytes | bytearray | memoryview, *, final: bool) -> list[int]:
        """Return where the chunks of *data*, which starts at a cut point, end.

        Unless *final*, the last chunk is left out: the bytes that follow decide where it ends.
        """
        if not data:
            return []
        ends = [chunk.offset + chunk.length for chunk in self._fastcdc.cut_buf(data)]
        return ends if final else ends[:-1]

    def first(self, data: bytes | bytearray | memoryview) -> int:
        """Return the length of the first chunk of *data*, which starts at a cut point and is not empty."""
        chunk = next(iter(self._fastcdc.cut_buf(data)))
        return chunk.offset + chunk.length
