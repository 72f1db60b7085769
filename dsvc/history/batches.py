"""Splitting many items into pieces of work: enough for a worker, and little enough to be held."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["in_batches"]

Item = TypeVar("Item")


def in_batches(
    items: Iterable[Item], size_of: Callable[[Item], int], *, most: int, most_bytes: int
) -> Iterator[list[Item]]:
    """Yield *items* in lists, in order; one ends at *most* of them, or once their sizes come to *most_bytes*."""
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += size_of(item)
        if len(batch) >= most or size >= most_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
