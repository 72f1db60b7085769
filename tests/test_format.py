"""What dsvc-format(5) says is so: its examples, a store written once, and a reader that knows only the manual."""

import json
import re
import struct
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3

from dsvc.chunking.fastcdc import Cutter
from dsvc.history.content import read_range
from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.log.checkpoint import load_checkpoint
from dsvc.log.entries import decode_hint, entry_key
from dsvc.log.entry import CheckpointName, decode_entry
from dsvc.log.log import Log
from dsvc.log.sessions import UploadState, decode_upload, encode_upload
from dsvc.log.store import decode_store
from dsvc.log.uses import decode_use, encode_use
from dsvc.log.verify import verify_log
from dsvc.maintenance.findings import Severity
from dsvc.maintenance.fsck import fsck
from dsvc.model.blob import Blob
from dsvc.model.codec import Record, decode, encode
from dsvc.model.commit import Commit, Tag
from dsvc.model.context import Context
from dsvc.model.ids import Kind, ObjectId, hash_object
from dsvc.model.tree import Entry, EntryKind, InnerPage, LeafPage, MapPage
from dsvc.odb import page_boundary
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import TRAILER_LENGTH, footer_range, read_footer
from dsvc.odb.segment import Segment, segment_key
from dsvc.odb.segment_writer import build_segment
from dsvc.storage.bundle import BundleBackend
from dsvc.storage.bundle_writer import BundleWriter
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from dsvc.worktree.session import SESSION_REF, read_session
from tests import format_reader
from tests.conftest import PROJECT
from tests.fixtures.make_format_1 import DESCRIPTION, FOLDER, Zeros, describe, make, versions
from tests.odb_support import make_pack, noise
from tests.test_chunking import _GEAR

PAGE = PROJECT / "man/man5/dsvc-format.5"
MAIN = "refs/heads/main"


@cache
def examples() -> dict[str, list[str]]:
    """Return the lines of each example of the manual, as they are shown."""
    found = re.findall(r'^\.\\" example: (\S+)\n\.EX\n(.*?)^\.EE$', PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    shown = {name: text.replace("\\-", "-").replace("\\e", "\\") for name, text in found}
    return {name.replace("\\-", "-"): _unbroken(text).splitlines() for name, text in shown.items()}


def _unbroken(text: str) -> str:
    return text.replace("\n  ", "") if text.startswith("{") else text.replace("\n  ", " ")


def dumped(name: str) -> bytes:
    """Return the bytes of a dump: each line has some in hex, and perhaps a comment behind three spaces."""
    lines = [line.partition("   ")[0] for line in examples()[name]]
    return bytes.fromhex(" ".join(line for line in lines if re.fullmatch(r"[0-9a-f]{2}( [0-9a-f]{2})*", line)))


def stated(name: str, word: str) -> str:
    """Return what the line of an example says that begins with *word*."""
    (found,) = [line.removeprefix(f"{word} ") for line in examples()[name] if line.startswith(f"{word} ")]
    return found.strip()


def test_a_bundle_has_the_form_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.bundle"
    with BundleWriter(path, bytes(range(32))) as writer:
        writer.write("bundle.json", b'{"v":1,"prerequisites":[]}')
        writer.finish()

    assert path.read_bytes() == dumped("bundle")
    assert BundleBackend.open(path).prerequisites == []


def test_the_manual_has_the_examples_that_are_checked_here() -> None:
    checked = set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"', Path(__file__).read_text("utf-8")))

    assert len(examples()) == 25
    assert set(examples()) <= checked


class TestExamples:
    def test_ids_of_nothing(self) -> None:
        shown = dict(line.split() for line in examples()["ids"])

        assert shown == {kind.name.lower(): str(hash_object(kind, b"")) for kind in Kind}

    @pytest.mark.parametrize(
        ("name", "kind", "record_type"),
        [
            ("blob", Kind.BLOB, Blob),
            ("leaf-page", Kind.PAGE, LeafPage),
            ("inner-page", Kind.PAGE, InnerPage),
            ("empty-tree", Kind.PAGE, LeafPage),
            ("commit", Kind.COMMIT, Commit),
            ("tag", Kind.TAG, Tag),
        ],
    )
    def test_records(self, name: str, kind: Kind, record_type: type[Record]) -> None:
        data = dumped(name)

        assert str(hash_object(kind, data)) == stated(name, "id")
        assert encode(decode(record_type, data)) == data
        assert plain(decode(record_type, data)) == format_reader.unpack(data)

    @pytest.mark.parametrize(
        ("name", "kind"), [("blob", Kind.BLOB), ("inner-page", Kind.PAGE), ("commit", Kind.COMMIT), ("tag", Kind.TAG)]
    )
    def test_objects_of_the_store(self, name: str, kind: Kind, store: Store) -> None:
        assert store.objects.read(kind, ObjectId.from_hex(stated(name, "id"))) == dumped(name)

    def test_the_leaf_holds_what_is_said(self) -> None:
        run = Entry(b"a/run", EntryKind.EXECUTABLE, 2, blake3(b"a\n").digest())

        assert decode(LeafPage, dumped("leaf-page")).entries == [run, Entry(b"empty", EntryKind.FOLDER, 0, b"")]

    def test_the_gear_table(self) -> None:
        assert stated("gear", "blake3") == blake3(struct.pack("<256Q", *_GEAR)).hexdigest()
        for byte in (0, 1, 255):
            assert stated("gear", f"gear[{byte}]") == f"{_GEAR[byte]:016x}"

    def test_where_content_is_cut(self) -> None:
        for line in examples()["cuts"]:
            seed, length, *ends = map(int, line.replace(":", "").split())

            assert Cutter().cut(noise(length, seed), final=True) == ends

    def test_multipliers_and_thresholds_of_pages(self) -> None:
        multipliers = [int(line.split()[1], 16) for line in examples()["multipliers"]]

        assert tuple(multipliers) == page_boundary._MULTIPLIERS
        for line in examples()["thresholds"]:
            weight, threshold = map(int, line.split())
            assert page_boundary._THRESHOLDS[weight] == threshold << 32

    def test_where_pages_end(self) -> None:
        keys = [b"%08d" % number for number in range(1, 5001)]

        for line in examples()["page-ends"]:
            level, ends = re.fullmatch(r"level (\d+): ([\d ]+)", line).groups()  # type: ignore[union-attr]
            assert page_boundary.Splitter(int(level)).split(keys) == list(map(int, ends.split()))

    def test_the_pack_and_its_footer(self, tmp_path: Path) -> None:
        data, raw = dumped("pack"), dumped("footer")
        key = stated("pack", "key")
        name = key.removeprefix("packs/")
        offset, length = footer_range(name, data[-TRAILER_LENGTH:], len(data))
        made = make_pack(tmp_path, [b"a\n", b"bc\n"], generation=7)

        footer = read_footer(name, data[:16], data[offset : offset + length], data[-TRAILER_LENGTH:])

        assert zstandard.decompress(data[offset : offset + length]) == raw == footer.encode()
        assert footer == made.footer
        # Another zstd may make another footer of the same columns.
        assert made.path.read_bytes()[:offset] == data[:offset]
        assert format_reader.Pack(name, data).objects.keys() == {hash_object(0, b"a\n"), hash_object(0, b"bc\n")}

    def test_the_segment_of_the_pack(self, tmp_path: Path) -> None:
        data = dumped("segment")
        backend = MemoryBackend()
        backend.write(stated("pack", "key"), dumped("pack"))
        backend.write(stated("segment", "key"), data)
        pack, segment = (stated(one, "key").partition("/")[2] for one in ("pack", "segment"))
        made = make_pack(tmp_path, [b"a\n", b"bc\n"], generation=7)

        database = ObjectDatabase(backend, packs=[pack], segments=[segment])

        database.segments[0].verify()
        assert segment_key(segment) == stated("segment", "key")
        assert database.read(Kind.CHUNK, hash_object(Kind.CHUNK, b"bc\n")) == b"bc\n"
        assert format_reader.read_segment(segment, data).keys() == {
            object_id for object_id, _ in database.segments[0].ids()
        }
        if made.name == pack:
            assert build_segment([made]).data == data

    def test_the_beginning_of_the_log(self) -> None:
        config, entry = (examples()[name][0].encode() for name in ("config", "entry"))

        assert config == (FOLDER / "config.json").read_bytes()
        assert decode_store(config).genesis == stated("config", "blake3") == decode_entry(entry).prev_hash
        assert entry == (FOLDER / entry_key(1)).read_bytes()
        second = decode_entry((FOLDER / entry_key(2)).read_bytes())
        assert blake3(entry).hexdigest() == stated("entry", "blake3") == second.prev_hash

    def test_the_hint(self) -> None:
        hint = examples()["hint"][0].encode()

        assert hint == (FOLDER / "log/hint").read_bytes()
        assert decode_hint(hint) == 128

    def test_the_checkpoint(self, store: Store) -> None:
        name, checkpoint = examples()["checkpoint-name"][0], examples()["checkpoint"][0].encode()
        page, root = dumped("map-page"), stated("map-page", "key").removeprefix("state/")
        named = CheckpointName(**json.loads(name))

        assert decode_entry((FOLDER / entry_key(128)).read_bytes()).checkpoint == named
        assert stated("checkpoint", "key") == f"state/{named.hash}"
        assert checkpoint == (FOLDER / f"state/{named.hash}").read_bytes()
        assert blake3(checkpoint).hexdigest() == named.hash
        assert json.loads(checkpoint)["deleted"] == root == str(hash_object(Kind.PAGE, page))
        assert decode(MapPage, page).entries[0].key == b"refs/heads/old"
        assert dict(load_checkpoint(store.backend, named).deleted) == {"refs/heads/old": 16}

    def test_the_session(self, store: Store) -> None:
        text = examples()["session"][0]
        session = read_session(store.state())

        assert store.state().value(SESSION_REF) == text == session.encode()
        assert session.staged == json.loads(text)["staged"]


def test_the_record_of_a_use() -> None:
    text = examples()["use"][0].encode()

    use = decode_use(text)

    assert use is not None
    assert encode_use(use) == text
    assert (use.name, use.who, use.run, use.url) == (
        "vision/images@1.0",
        "ada",
        "train-7",
        "https://runs.example.org/7",
    )


def test_the_record_of_an_upload() -> None:
    text = examples()["upload"][0].encode()

    upload = decode_upload(text)

    assert upload is not None
    assert encode_upload(upload) == text
    assert (upload.state, upload.sent, upload.total) == (UploadState.UPLOADING, 64 << 20, 128 << 20)


def plain(value: Any) -> Any:
    """Return *value* as lists of what MessagePack knows."""
    if isinstance(value, Record):
        return [plain(getattr(value, name)) for name in value.__struct_fields__]
    return [plain(one) for one in value] if isinstance(value, list) else value


def open_store(folder: Path) -> Store:
    nonces = count()
    context = Context(lambda: "nobody", "nobody", "test", lambda: (0, 0), lambda: str(next(nonces)))
    return Store(LocalBackend(folder), context)


@pytest.fixture(scope="module")
def store() -> Store:
    return open_store(FOLDER)


@pytest.fixture(scope="module")
def reader() -> format_reader.StoreReader:
    return format_reader.StoreReader(FOLDER)


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    described: dict[str, Any] = json.loads(DESCRIPTION.read_text("utf-8"))
    return described


def blocks(content: bytes | Zeros | None) -> Iterator[bytes]:
    if isinstance(content, Zeros):
        for _ in range(content.length >> 20):
            yield bytes(1 << 20)
    elif content:
        yield content


class TestStoreOfFormat1:
    """The store that is committed with the tests. It is read by every later version of dsvc, for ever."""

    def test_it_says_what_it_always_said(self, store: Store, description: dict[str, Any]) -> None:
        assert describe(store) == description

    def test_every_byte_of_it_is_sound(self, store: Store) -> None:
        report = fsck(store)

        assert [finding for finding in report.findings if finding.severity is Severity.DAMAGE] == []
        assert report.lost == []
        assert report.packs == 13

    def test_every_object_is_read(self, store: Store) -> None:
        read = 0
        for segment in store.objects.segments:
            segment.verify()
            for object_id, row in segment.starting_with(b""):
                location = segment.location(row)
                if location.pack in store.objects.packs:
                    data = store.objects.read(location.kind, object_id)
                    assert hash_object(location.kind, data) == object_id
                    read += 1

        assert read == 49

    def test_its_void_entries_are_the_three_that_were_put_in(self, store: Store) -> None:
        assert [(fault.seq, fault.is_void) for fault in verify_log(store.log)] == [(11, True), (12, True), (13, True)]

    @pytest.mark.parametrize("name", versions())
    def test_each_version_holds_what_was_put_into_it(self, name: str, store: Store) -> None:
        tree = Tree(store.objects, ObjectId.from_hex(roots(store)[name]))

        entries = {entry.path: entry for entry in tree.entries()}

        expected = versions()[name]
        assert entries.keys() == expected.keys()
        for path, (kind, content) in expected.items():
            entry = entries[path]
            assert entry.kind == kind
            if isinstance(content, Zeros):
                # The other reader hashes it all.
                assert entry.size == content.length
                assert b"".join(read_range(store.objects, entry, (1 << 30) + 5, (1 << 30) + 9)) == bytes(4)
            elif content is not None:
                assert b"".join(read_range(store.objects, entry)) == content

    def test_the_same_content_gets_the_same_ids_today(self, tmp_path: Path, description: dict[str, Any]) -> None:
        made = make(tmp_path / "store")

        assert describe(made) == description
        assert {one for one, _ in ids_of(made)} == {one for one, _ in ids_of(open_store(FOLDER))}

    def test_replay_and_checkpoint_give_one_state(self, store: Store) -> None:
        state = store.log.head()

        again = Log(store.backend).state_at(127)

        assert again.seq == 127
        assert state.hash == format_reader.StoreReader(FOLDER).state.hash


def roots(store: Store) -> dict[str, str]:
    """Return the root page of each version, by its name."""
    described = describe(store)
    by_name = {commit["subject"].split()[1]: commit["tree"] for commit in described["commits"].values()}
    staged = read_session(store.state()).staged
    assert staged is not None
    return {**by_name, "staged": staged}


def ids_of(store: Store) -> Iterator[tuple[bytes, int]]:
    packs = store.state().packs
    for segment in store.objects.segments:
        yield from ((one, kind) for one, kind in segment.ids() if _is_live(segment, one, packs))


def _is_live(segment: Segment, object_id: bytes, packs: Any) -> bool:
    return segment.location(segment.find(object_id)).pack in packs


class TestReaderOfTheManual:
    """The second reader checks what the first one might have got wrong in the same way when writing."""

    def test_it_finds_the_same_state(self, reader: format_reader.StoreReader, store: Store) -> None:
        state = store.log.head()

        assert (reader.state.seq, reader.state.hash, reader.state.last_sweep) == (
            state.seq,
            state.hash,
            state.last_sweep,
        )
        assert reader.state.refs == {name: (ref.value, ref.seq, ref.published) for name, ref in state.refs.items()}
        for name in ("deleted", "packs", "segments", "doomed", "swept"):
            assert reader.state.tables()[name] == dict(getattr(state, name))
        assert reader.state.void == [11, 12, 13]
        assert list(reader.checkpoints) == [127]

    def test_it_finds_every_object_where_the_packs_have_it(self, reader: format_reader.StoreReader) -> None:
        in_packs = {one: name for name, pack in reader.packs.items() for one in pack.objects}

        assert reader.index.keys() == in_packs.keys()
        for one, (pack, offset, place, length, kind) in reader.index.items():
            number, *where = reader.packs[pack].objects[one]
            assert (reader.packs[pack].frames[number].offset, *where) == (offset, place, length, kind)
            assert format_reader.object_id(kind, reader.read(kind, one)) == one

    @pytest.mark.parametrize("name", versions())
    def test_it_reads_every_file_of_every_version(
        self, name: str, reader: format_reader.StoreReader, store: Store
    ) -> None:
        entries = reader.tree(bytes.fromhex(roots(store)[name]))

        assert [(entry.path, entry.kind) for entry in entries] == sorted(
            ((path, kind) for path, (kind, _) in versions()[name].items()),
            key=lambda one: one[0].replace(b"/", b"\0"),
        )
        for entry in entries:
            content = versions()[name][entry.path][1]
            # 1.7 GB are hashed once, not for every version.
            if not isinstance(content, Zeros) or name == "last":
                assert all(map(bytes.__eq__, reader.content(entry), split_as(reader, entry, content)))

    def test_it_walks_from_a_ref_to_the_first_commit(
        self, reader: format_reader.StoreReader, description: dict[str, Any]
    ) -> None:
        waiting, found = [bytes.fromhex(reader.state.refs[MAIN][0])], {}
        while waiting:
            commit_id = waiting.pop()
            _, tree, parents, author, _, offset, message, _, _, files, size = format_reader.unpack(
                reader.read(format_reader.COMMIT, commit_id)
            )
            assert (author, offset) == ("Ada Lovelace <ada@example.org>", 120)
            found[commit_id.hex()] = (
                message.partition("\n")[0],
                tree.hex(),
                [one.hex() for one in parents],
                files,
                size,
            )
            waiting += parents

        fields = ("subject", "tree", "parents", "files", "size")
        assert found == {
            name: tuple(commit[field] for field in fields) for name, commit in description["commits"].items()
        }

    def test_it_follows_tags_to_their_commits(
        self, reader: format_reader.StoreReader, description: dict[str, Any]
    ) -> None:
        _, target, name, *_ = self.read_tag(reader, reader.state.refs["refs/tags/release"][0])
        assert name == "release"
        _, target, name, _, _, _, message = self.read_tag(reader, target.hex())

        assert (name, message) == ("v1.0", "Release v1.0\n")
        assert description["commits"][target.hex()]["subject"] == "The second version"

    @staticmethod
    def read_tag(reader: format_reader.StoreReader, tag_id: str) -> list[Any]:
        tag: list[Any] = format_reader.unpack(reader.read(format_reader.TAG, bytes.fromhex(tag_id)))
        return tag


def split_as(
    reader: format_reader.StoreReader, entry: format_reader.Entry, content: bytes | Zeros | None
) -> Iterator[bytes]:
    """Yield the expected content in pieces as long as the chunks."""
    if isinstance(content, Zeros):
        yield from blocks(content)
        return
    start = 0
    for _, length in reader._chunks(entry):
        yield (content or b"")[start : start + length]
        start += length
    assert start == len(content or b"")
