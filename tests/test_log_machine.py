"""The log against a plain model: several writers over bad connections, and nothing is lost or done twice."""

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dsvc.errors import StorageError
from dsvc.log.append import CommitUnknownError
from dsvc.log.entries import HINT_KEY, entry_key
from dsvc.log.entry import RefChange, Transaction
from dsvc.log.log import Log
from dsvc.log.reflog import reflog
from dsvc.log.replay import PublishedTagError, RefMovedError
from dsvc.log.state import State
from dsvc.log.verify import verify_log
from dsvc.storage.memory import MemoryBackend
from tests.log_support import Fault, FaultyBackend, commit, oid

WRITERS = 3
REFS = ["refs/heads/main", "refs/heads/other", "refs/tags/v1", "refs/worktrees/1"]

writers = st.integers(0, WRITERS - 1)
refs = st.sampled_from(REFS)
faults = st.lists(st.sampled_from(Fault), max_size=5)


class LogMachine(RuleBasedStateMachine):
    """What the log should hold, and the writers that fill it."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = MemoryBackend()
        self.values: dict[str, str] = {}
        self.published: set[str] = set()
        self.history: dict[str, list[str | None]] = {ref: [] for ref in REFS}
        self.entries = 0
        self.ids = itertools.count(1)

    @initialize()
    def create(self) -> None:
        Log.create(self.backend, store_id="store")
        self.connections = [FaultyBackend(self.backend) for _ in range(WRITERS)]
        self.logs = [Log(connection) for connection in self.connections]

    def expect(self, ref: str, new: str | None, *, publish: bool = False) -> None:
        self.entries += 1
        self.history[ref].append(new)
        if new is None:
            del self.values[ref]
        else:
            self.values[ref] = new
        if publish:
            self.published.add(ref)

    @rule(
        writer=writers, ref=refs, faults=faults, delete=st.booleans(), publish=st.booleans(), rivals=st.integers(0, 2)
    )
    def change(self, *, writer: int, ref: str, faults: list[Fault], delete: bool, publish: bool, rivals: int) -> None:
        """Move *ref* from where it is, while *rivals* other commits come first, over a connection with *faults*."""
        new = None if delete else oid(next(self.ids))
        publish = publish and new is not None and ref == "refs/tags/v1"
        connection = self.connections[writer]
        nothing_there = False

        def build(state: State) -> Transaction | None:
            nonlocal rivals, nothing_there
            old = state.value(ref)
            nothing_there = old is None and new is None
            if rivals:
                rivals -= 1
                self.commit_elsewhere()
            return None if nothing_there else Transaction(ops=[RefChange(ref, old, new, publish=publish)])

        connection.faults.extend(faults)
        try:
            commit(self.logs[writer], build)
        except PublishedTagError:
            assert ref in self.published
        except StorageError as error:
            self.settle(ref, new, error, publish=publish)
        else:
            if not nothing_there:
                assert ref not in self.published
                self.expect(ref, new, publish=publish)
        connection.faults.clear()

    def commit_elsewhere(self) -> None:
        value = oid(next(self.ids))
        commit(
            Log(self.backend),
            lambda state: Transaction(ops=[RefChange("refs/heads/rival", state.value("refs/heads/rival"), value)]),
        )
        self.values["refs/heads/rival"] = value
        self.entries += 1

    def settle(self, ref: str, new: str | None, error: StorageError, *, publish: bool) -> None:
        """Tell by what is there, as a user would, whether the commit that failed with *error* has happened."""
        for connection in self.connections:
            connection.arrive()
        raw = self.backend.read_many([entry_key(self.entries + 1)])[0]
        if raw is not None:
            assert isinstance(error, CommitUnknownError)
            assert error.key == entry_key(self.entries + 1)
            assert error.nonce.encode() in raw
            self.expect(ref, new, publish=publish)

    @rule(writer=writers, ref=refs, number=st.integers(0, 5))
    def change_from_a_wrong_value(self, writer: int, ref: str, number: int) -> None:
        wrong = oid(10**9 + number)
        with pytest.raises(RefMovedError) as caught:
            commit(self.logs[writer], Transaction(ops=[RefChange(ref, wrong, oid(1))]))
        assert (caught.value.expected, caught.value.found) == (wrong, self.values.get(ref))

    @rule(count=st.sampled_from([1, 20, 130]))
    def others_commit(self, count: int) -> None:
        for _ in range(count):
            self.commit_elsewhere()

    @rule(writer=writers)
    def restart(self, writer: int) -> None:
        self.logs[writer] = Log(self.connections[writer])

    @rule(
        raw=st.one_of(st.none(), st.binary(max_size=20), st.integers(-5, 10_000).map(lambda seq: b'{"seq":%d}' % seq))
    )
    def spoil_the_hint(self, raw: bytes | None) -> None:
        if raw is None:
            self.backend.delete(HINT_KEY)
        else:
            self.backend.write(HINT_KEY, raw)

    @rule(raw=st.sampled_from([b"", b"garbage", b"{}"]))
    def add_garbage(self, raw: bytes) -> None:
        self.entries += 1
        self.backend.create(entry_key(self.entries), raw)

    @rule(seq=st.integers(1, 1000))
    def repeat_an_old_entry(self, seq: int) -> None:
        if seq <= self.entries:
            self.entries += 1
            self.backend.create(entry_key(self.entries), self.backend.read(entry_key(seq)))

    @rule(data=st.data())
    def lose_a_checkpoint(self, data: st.DataObject) -> None:
        keys = sorted(key for key, _ in self.backend.list("state/") if self.backend.read(key).startswith(b'{"v"'))
        if keys:
            self.backend.delete(data.draw(st.sampled_from(keys)))

    @invariant()
    def the_log_holds_what_was_committed(self) -> None:
        state = Log(self.backend).head()
        assert state.seq == self.entries
        assert {name: ref.value for name, ref in state.refs.items()} == self.values
        assert state.published == self.published

    @rule()
    def all_see_the_same(self) -> None:
        state = Log(self.backend).head()
        for log in self.logs:
            assert log.head() == state

    def teardown(self) -> None:
        log = Log(self.backend)
        for ref, values in self.history.items():
            updates = list(reflog(log, ref))[::-1]
            assert [update.new for update in updates] == values
            assert [update.old for update in updates] == [None, *values][: len(values)]
        assert all(fault.is_void or "missing" in fault.message for fault in verify_log(log))


LogMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestLogMachine = LogMachine.TestCase
