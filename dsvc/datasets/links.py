"""Reading what the links of versions name, and telling whether it still is what they say.

What is read is what was pinned, or an error; and only what `link_policy` allows is read.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from pathlib import Path
from threading import Event, Lock
from typing import Final, NamedTuple, TypeVar

import msgspec
from blake3 import blake3

from dsvc.config import Config
from dsvc.datasets.link_policy import LinkNotAllowedError, LinkPolicy
from dsvc.errors import CorruptionError, DsvcError, NotFoundError, StorageError
from dsvc.history.extensions import read_extensions
from dsvc.model.context import Context
from dsvc.model.extension import Link
from dsvc.model.ids import ObjectId
from dsvc.model.link_url import without_secrets
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry
from dsvc.odb.objects import ObjectReader
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.foreign import THREADS, Foreign, ForeignGoneError, ObjectState, open_foreign, place_of
from dsvc.storage.local import storage_error, sync_file
from dsvc.storage.settings import NO_SETTINGS, Settings, read_settings

__all__ = [
    "Drift",
    "LinkChangedError",
    "LinkGoneError",
    "LinkUnreadableError",
    "Linked",
    "Links",
    "Standing",
    "linked_entries",
    "pinned_state",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

# So many links of one folder are looked at by one listing of it, rather than by a request each.
_LISTED: Final = 50


class LinkGoneError(NotFoundError):
    """Nothing is where a link leads any more."""

    def __init__(self, path: bytes, url: str) -> None:
        super().__init__(f"{quote_path(path)} is a link to {without_secrets(url)}, where nothing is any more")
        self.path = path
        self.url = url


class LinkChangedError(CorruptionError):
    """What is where a link leads is not what it was."""

    def __init__(self, path: bytes, url: str, reason: str) -> None:
        super().__init__(f"{quote_path(path)} is a link to {without_secrets(url)}, which has changed: {reason}")
        self.path = path
        self.url = url
        self.reason = reason


class LinkUnreadableError(StorageError):
    """What a link leads to cannot be read now."""

    def __init__(self, path: bytes, url: str, reason: str) -> None:
        super().__init__(f"{quote_path(path)} is a link to {without_secrets(url)}, which cannot be read: {reason}")
        self.path = path
        self.url = url


class Linked(NamedTuple):
    """An external entry, and where its content is."""

    entry: Entry
    link: Link


class Drift(Enum):
    """How the content of a link stands to what was pinned."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"
    UNKNOWN = "unknown"


class Standing(NamedTuple):
    """One link, how it stands, and what is there now, or why nobody can tell."""

    linked: Linked
    drift: Drift
    state: ObjectState | None = None
    reason: str = ""
    digest: bytes = b""


def pinned_state(linked: Linked) -> ObjectState:
    """Return the state of the content that the entry was made of."""
    link = linked.link
    return ObjectState(link.url, linked.entry.size, link.etag, link.version_id, link.modified)


class Links:
    """Reads from wherever *policy* allows; how a bucket is reached is what *config* says of a remote in it."""

    def __init__(self, config: Config, context: Context, policy: LinkPolicy) -> None:
        self._config = config
        self._context = context
        self._policy = policy
        self._places: dict[tuple[str, str], Foreign] = {}
        self._lock = Lock()
        self._is_leaving = Event()

    def place(self, url: str) -> Foreign:
        """Return the place that *url* is in, whoever named it."""
        with self._lock:
            key = place_of(url)
            if key not in self._places:
                self._places[key] = open_foreign(url, self._settings(url), self._policy.allows)
            return self._places[key]

    def _settings(self, url: str) -> Settings:
        for name, address in self._config.remotes().items():
            if place_of(address) == place_of(url) and not url.startswith("file:"):
                return read_settings(self._config, name, self._context.environment)
        return NO_SETTINGS

    def check_allowed(self, linked: Iterable[Linked]) -> None:
        """Do nothing, if all of *linked* may be read.

        Raises:
            LinkNotAllowedError: One may not.
        """
        for entry, link in linked:
            if not self._policy.allows(link.url):
                raise LinkNotAllowedError(entry.path, link.url)

    def standing(
        self, linked: Sequence[Linked], *, digest: bool = False, progress: Progress = NO_PROGRESS
    ) -> Iterator[Standing]:
        """Yield how each of *linked* stands, in order; with *digest*, all of the content is read.

        Many in one folder are looked up by one listing.

        Raises:
            LinkNotAllowedError: One may not be read; nothing was asked of anybody.
        """
        self.check_allowed(linked)
        progress.start("check links", files=len(linked))
        listed = self._listed(linked)

        def look(one: Linked) -> Standing:
            found = self._look(one, listed)
            if digest and found.drift is Drift.SAME and found.state is not None:
                found = self._read_whole(one, found, found.state)
            progress.advance(1)
            return found

        yield from self._in_parallel(look, linked)
        progress.finish()

    def _in_parallel(self, call: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield what *call* returns for each of *items*, in order, several at a time; the first failure ends all."""
        with ThreadPoolExecutor(min(THREADS, max(1, len(items)))) as pool:
            try:
                yield from pool.map(call, items)
            except BaseException:
                # Ctrl-C, too, waits for a piece and not for a file.
                self._is_leaving.set()
                pool.shutdown(wait=True, cancel_futures=True)
                self._is_leaving.clear()
                raise

    def _pieces(self, url: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        for piece in self.place(url).read(url, start, stop):
            if self._is_leaving.is_set():
                message = f"{without_secrets(url)} is not wanted any more"
                raise StorageError(message)
            yield piece

    def _listed(self, linked: Sequence[Linked]) -> dict[str, dict[str, ObjectState]]:
        """Return what is in the folders in which many of *linked* are."""
        counts: dict[str, int] = {}
        for one in linked:
            folder = one.link.url.rpartition("/")[0]
            counts[folder] = counts.get(folder, 0) + 1
        folders = [folder for folder, count in counts.items() if count >= _LISTED and self.place(f"{folder}/").lists]
        found: dict[str, dict[str, ObjectState]] = {}
        for folder in folders:
            # Who may read each object may not list them all.
            with suppress(StorageError):
                found[folder] = self.place(f"{folder}/").beside(f"{folder}/")
        return found

    def _look(self, one: Linked, listed: dict[str, dict[str, ObjectState]]) -> Standing:
        url = one.link.url
        folder = listed.get(url.rpartition("/")[0])
        try:
            state = folder.get(url) if folder is not None else self.place(url).state(url)
        except ForeignGoneError:
            state = None
        except DsvcError as error:
            return Standing(one, Drift.UNKNOWN, None, str(error))
        if state is None:
            return Standing(one, Drift.GONE)
        pinned = pinned_state(one)
        if state.is_same(pinned):
            return Standing(one, Drift.SAME, state)
        return Standing(one, Drift.CHANGED, state, _reason(pinned, state))

    def _read_whole(self, one: Linked, found: Standing, state: ObjectState) -> Standing:
        try:
            _, digest = self.measure(one.entry.path, state)
        except ForeignGoneError:
            return Standing(one, Drift.GONE)
        except LinkChangedError as error:
            return Standing(one, Drift.CHANGED, state, error.reason)
        except DsvcError as error:
            return Standing(one, Drift.UNKNOWN, state, str(error))
        if one.entry.digest and digest != one.entry.digest:
            return Standing(one, Drift.CHANGED, state, "its digest is another", digest)
        return found._replace(digest=digest)

    def measure(self, path: bytes, state: ObjectState) -> tuple[ObjectState, ObjectId]:
        """Return *state* with the size of the content that is read from its URL, for *path*, and its digest.

        Raises:
            ForeignGoneError, LinkChangedError: What is there is no longer in that state.
            StorageError: It cannot be read.
        """
        hasher, length = blake3(), 0
        for piece in self._pieces(state.url):
            hasher.update(piece)
            length += len(piece)
        # It may have changed while it was read.
        if state.size not in (None, length) or not self.place(state.url).state(state.url).is_same(state):
            raise LinkChangedError(path, state.url, "it changed while it was read")
        return msgspec.structs.replace(state, size=length), ObjectId(hasher.digest())

    def states(self, urls: Sequence[str]) -> list[ObjectState]:
        """Return what is at *urls* now, looking at several at a time; they are the user's own.

        Raises:
            ForeignGoneError, FolderUrlError: At one there is nothing, or a folder.
            StorageError: Nobody can tell.
        """
        return list(self._in_parallel(lambda url: self.place(url).state(url), urls))

    def measure_all(
        self, found: Sequence[tuple[bytes, ObjectState]], progress: Progress = NO_PROGRESS
    ) -> list[tuple[ObjectState, ObjectId]]:
        """Measure each (path, state) of *found*, several at a time.

        Raises:
            ForeignGoneError, LinkChangedError, StorageError: As `measure`.
        """
        progress.start("read links", files=len(found), size=sum(state.size or 0 for _, state in found))

        def measure(item: tuple[bytes, ObjectState]) -> tuple[ObjectState, ObjectId]:
            measured = self.measure(*item)
            progress.advance(1, measured[0].size or 0)
            return measured

        measured = list(self._in_parallel(measure, found))
        progress.finish()
        return measured

    def read(self, one: Linked, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of *one* from *start* up to before *stop*, in pieces.

        All of it has the digest that was pinned, or if none was, what is there afterwards has the state that was
        pinned; of a part, what is there before as well. The last piece comes when that is known.

        Raises:
            LinkNotAllowedError: It may not be read.
            LinkGoneError, LinkChangedError: It is not there any more, or not what it was.
            LinkUnreadableError: It cannot be read.
        """
        self.check_allowed([one])
        size = one.entry.size
        stop = size if stop is None else min(stop, size)
        whole = (start, stop) == (0, size)
        if not whole or not size:
            self._expect(one)
        if start >= stop:
            return
        held = b""
        for piece in self._whole(one) if whole else self._part(one, start, stop):
            if held:
                yield held
            held = piece
        if not (whole and one.entry.digest):
            # It may have changed while it was read.
            self._expect(one)
        yield held

    def _whole(self, one: Linked) -> Iterator[bytes]:
        """Yield all of *one*; of its digest, if it is pinned, and of its size if not."""
        hasher = blake3()
        # A byte more than there should be is enough to tell.
        for piece in self._part(one, 0, one.entry.size, more=1):
            hasher.update(piece)
            yield piece
        if one.entry.digest and hasher.digest() != one.entry.digest:
            raise LinkChangedError(one.entry.path, one.link.url, "its digest is another")

    def _part(self, one: Linked, start: int, stop: int, *, more: int = 0) -> Iterator[bytes]:
        length = 0
        try:
            for piece in self._pieces(one.link.url, start, stop + more):
                length += len(piece)
                yield piece
        except ForeignGoneError as error:
            raise LinkGoneError(one.entry.path, one.link.url) from error
        except StorageError as error:
            raise LinkUnreadableError(one.entry.path, one.link.url, str(error)) from error
        if length != stop - start:
            size = f"more than {stop:,} bytes are there" if length > stop - start else f"{length:,} bytes came"
            raise LinkChangedError(one.entry.path, one.link.url, f"{size}, and not {stop - start:,}")

    def _expect(self, one: Linked) -> None:
        """Do nothing, if what is there now is what was pinned."""
        _refuse(self._look(one, {}))

    def fetch_all(self, wanted: Sequence[tuple[Linked, Path]], progress: Progress = NO_PROGRESS) -> list[ObjectId]:
        """Let the content of each of *wanted* be in its new file, verified and durable; return the digests.

        Raises:
            LinkNotAllowedError, LinkGoneError, LinkChangedError, LinkUnreadableError: As `read`; no file is left.
        """
        self.check_allowed(one for one, _ in wanted)
        progress.start("fetch links", files=len(wanted), size=sum(one.entry.size for one, _ in wanted))

        def fetch(item: tuple[Linked, Path]) -> ObjectId:
            digest = self._fetch(*item)
            progress.advance(1, item[0].entry.size)
            return digest

        try:
            digests = list(self._in_parallel(fetch, wanted))
            # Of those that have no digest, one look at all of them tells whether they were what they should be.
            for found in self.standing([one for one, _ in wanted if not one.entry.digest]):
                _refuse(found)
        except BaseException:
            for _, file in wanted:
                file.unlink(missing_ok=True)
            raise
        progress.finish()
        return digests

    def _fetch(self, one: Linked, file: Path) -> ObjectId:
        hasher = blake3()
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with os.fdopen(descriptor, "wb") as stream:
                for piece in self._whole(one) if one.entry.size else ():
                    hasher.update(piece)
                    stream.write(piece)
                stream.flush()
                sync_file(stream.fileno())
        except OSError as error:
            raise storage_error(error, f"write {file}") from error
        return ObjectId(hasher.digest())


def _refuse(found: Standing) -> None:
    """Do nothing, if what was *found* is what was pinned."""
    entry, link = found.linked
    if found.drift is Drift.GONE:
        raise LinkGoneError(entry.path, link.url)
    if found.drift is Drift.CHANGED:
        raise LinkChangedError(entry.path, link.url, found.reason)
    if found.drift is Drift.UNKNOWN:
        raise LinkUnreadableError(entry.path, link.url, found.reason)


def _reason(pinned: ObjectState, now: ObjectState) -> str:
    """Return in what *now* differs from what was *pinned*."""
    if pinned.size != now.size:
        size = "unknown" if now.size is None else f"{now.size:,}"
        return f"its size is {size} bytes, and was {pinned.size:,}"
    if pinned.version_id != now.version_id and pinned.version_id and now.version_id:
        return f"its version is {now.version_id}, and was {pinned.version_id}"
    if pinned.etag != now.etag and pinned.etag and now.etag:
        return f"its etag is {now.etag}, and was {pinned.etag}"
    return "it was modified"


def linked_entries(objects: ObjectReader, entries: Sequence[Entry]) -> list[Linked]:
    """Return external *entries* with their links.

    Raises:
        CorruptionError: An extension is missing, damaged or does not fit.
    """
    found = zip(entries, read_extensions(objects, entries), strict=True)
    return [Linked(entry, extension.link) for entry, extension in found if extension.link is not None]
