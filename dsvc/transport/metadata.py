"""The metadata of a remote far away: the packs with what is missing here come as a whole, a few large requests at once.

Page by page, every level of a tree would be a round trip. Of a remote that is a folder nothing is copied.
"""

from dsvc.errors import CorruptionError
from dsvc.history.store import Store
from dsvc.model.ids import Kind
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import pack_key
from dsvc.odb.segment import segment_key
from dsvc.storage.backend import Backend, KeyNotFoundError
from dsvc.storage.mirror import MirroredBackend

__all__ = ["bring_index", "bring_metadata", "drop_metadata"]


def bring_index(there: Store) -> None:
    """Let `there.objects` have the newest index, its segments copied at once where the remote is far away."""
    state = there.log.head()
    if isinstance(there.backend, MirroredBackend):
        there.backend.fetch([segment_key(name) for name in state.segments])
    there.last_state()


def bring_metadata(there: Store, here: ObjectDatabase) -> Backend:
    """Copy each pack of *there* with metadata that is not *here*; return the backend where it can be read.

    Raises:
        CorruptionError: A pack is missing there.
    """
    bring_index(there)
    backend = there.backend
    if not isinstance(backend, MirroredBackend):
        return backend
    keys = [pack_key(pack) for pack in sorted(_packs_with_missing(there.objects, here))]
    try:
        backend.fetch(keys)
    except KeyNotFoundError as error:
        message = f"{error.key} is missing"
        raise CorruptionError(message) from error
    return backend.copy


def _packs_with_missing(there: ObjectDatabase, here: ObjectDatabase) -> set[str]:
    live, found = there.packs, set[str]()
    for segment in there.segments:
        for row in segment.rows_of_other_kinds(Kind.CHUNK):
            pack = segment.pack_of(row)
            if pack in live and pack not in found and segment.id_of(row) not in here:
                found.add(pack)
    return found


def drop_metadata(there: Store) -> None:
    """Remove what `bring_metadata` has copied."""
    if isinstance(there.backend, MirroredBackend):
        for key, _ in list(there.backend.copy.list("packs/")):
            there.backend.copy.delete(key)
