"""Arrivals: packs that are in a folder of this store already, and that nobody has verified yet.

Where every object of a pack is about to be read, the reader verifies each as it always does; to read all of it
once more before that would tell nothing new. Until then the pack is no part of the store, and has no name in it: what
an interruption leaves of it is a temporary folder.
"""

from contextlib import suppress

import msgspec

from dsvc.odb import frame
from dsvc.odb.database import ObjectDatabase, load_segment
from dsvc.odb.pack import MalformedPackError, SealedPack, of_generation, pack_key
from dsvc.odb.pack_reader import StoredPack
from dsvc.odb.segment import segment_key
from dsvc.odb.segment_writer import SegmentBuilder
from dsvc.odb.writer import Sealed, make_index, store_index
from dsvc.storage.backend import Backend, LocalFiles
from dsvc.storage.local import LocalBackend, link_for_all
from dsvc.storage.temporary import remove

__all__ = ["Arrivals"]


class Arrivals:
    """Packs on their way into *database* and its folder *files*, as generation *generation*.

    First packs are taken, then they are read in place of what the database has; who has read all objects of all of
    them may keep them.
    """

    def __init__(self, database: ObjectDatabase, files: LocalBackend, *, generation: int) -> None:
        self._database = database
        self._files = files
        self._generation = generation
        # A store of its own, with an index made of what the packs themselves say: what is read is what they hold.
        self._folder = LocalBackend(files.temporary())
        self._index = self._new_index()
        self._sealed = Sealed()

    def _new_index(self) -> SegmentBuilder:
        return SegmentBuilder(self._generation, self._files.temporary().parent)

    def take(self, source: Backend, pack: StoredPack) -> bool:
        """Link *pack* of *source* to here; tell whether that could be done.

        It cannot from another filesystem, another owner, or for more people than may read it, nor where a pack does not
        tell the ids of its objects. What has to be copied is better verified on the way: it is not copied twice then if
        something interrupts.
        """
        ids = pack.footer.ids
        if ids is None or not isinstance(source, LocalFiles):
            return False
        name = of_generation(pack.name, self._generation)
        path = self._folder.path(pack_key(name))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not link_for_all(source.path(pack_key(pack.name)), path):
                return False
        except OSError:
            return False
        if not self._has_its_headers(name, pack):
            path.unlink()
            return False
        self._index.add(SealedPack(name, path, pack.length, pack.raw_length, pack.footer, ids))
        return True

    def _has_its_headers(self, name: str, pack: StoredPack) -> bool:
        """Tell whether frames begin as the footer says, of which readers of objects look at a part only."""
        records = pack.footer.frames
        found = self._folder.read_ranges(pack_key(name), [(one.offset, frame.HEADER_LENGTH) for one in records])
        return all(head == one.header.prefix() + one.header.checksum for head, one in zip(found, records, strict=True))

    def open(self) -> None:
        """Let what was taken be read through the database.

        Raises:
            MalformedPackError: An object is in there twice, and one of them would not be read.
        """
        arrived = ObjectDatabase(self._folder, arrived=True)
        sealed, self._index = make_index(arrived, self._index), self._new_index()
        if sealed.segment is None:
            return
        if len(sealed.segment) != sealed.objects:
            raise MalformedPackError(sealed.packs[0], "an object in it, or in one that came with it, is there twice")
        store_index(arrived, self._folder, sealed)
        # Mapped from now on, for it may take long to read all.
        self._sealed = msgspec.structs.replace(sealed, segment=load_segment(self._folder, sealed.segment.name))
        self._database.nearer = ObjectDatabase(
            self._folder, packs=sealed.packs, segments=[sealed.segment.name], arrived=True
        )

    def keep(self) -> Sealed:
        """Make what was taken durable here, each object of which was read through the database since it was opened."""
        sealed = self._sealed
        if sealed.segment is not None:
            for key in (*map(pack_key, sealed.packs), segment_key(sealed.segment.name)):
                self._files.adopt(self._folder.path(key), key)
            self._database.attach(sealed.packs, [sealed.segment])
        self.close()
        return sealed

    def close(self) -> None:
        """Give up what was taken and not kept."""
        if self._database.nearer is not None and self._database.nearer.arrived:
            self._database.nearer = None
        self._index, self._sealed = self._new_index(), Sealed()
        with suppress(OSError):
            remove(self._folder.root)
