"""Garbage collection beside pushes: with all its rules nothing is lost, and each rule is needed."""

from random import Random
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dsvc.log.entry import RefChange, Transaction
from dsvc.log.log import Log
from dsvc.log.state import Standing, State
from dsvc.storage.memory import MemoryBackend
from tests import log_support
from tests.gc_model import OBJECTS, REFS, Change, ModelLog, Pack, Rules, Steps, ToyLog, View, World, random_run

MOST_ACTORS: Final = 5


def tail(pack: Pack) -> str:
    return log_support.pack(pack.content, pack.generation)


def number(object_id: str) -> int:
    return int(object_id[16:], 16)


def pack(tail: str) -> Pack:
    content, _, generation = tail.partition("/")[2].partition(".")
    return Pack(number(content), int(generation))


class RealView:
    """A state of the real log, in the words of the model."""

    def __init__(self, state: State) -> None:
        self.number = state.seq
        self.refs = {name: number(ref.value) for name, ref in state.refs.items()}
        self.packs = frozenset(map(pack, state.packs))
        self.doomed = frozenset(map(pack, state.doomed))
        self.swept = frozenset(map(pack, state.swept))
        self.last_sweep = state.last_sweep
        self._state = state

    def standing(self, pack: Pack) -> Standing:
        return self._state.standing(tail(pack))


class RealLog:
    """The real log, in the words of the model. It refuses what breaks a rule, and then the test fails."""

    def __init__(self) -> None:
        self._log = Log.create(MemoryBackend(), store_id="store")

    def view(self) -> RealView:
        return RealView(self._log.head())

    def append(self, view: View, change: Change) -> bool:
        is_ours = view.number == self._log.head().seq

        def build(state: State) -> Transaction | None:
            if not is_ours:
                return None
            ids = {ref: None if new is None else log_support.oid(new) for ref, new in change.refs.items()}
            return Transaction(
                ops=[RefChange(ref, state.value(ref), new) for ref, new in ids.items()],
                add_packs=sorted(map(tail, change.add)),
                rescue=sorted(map(tail, change.rescue)),
                mark=sorted(map(tail, change.mark)),
                mark_base=view.number if change.mark else None,
                sweep=sorted(map(tail, change.sweep)),
                deleted=sorted(map(tail, change.deleted)),
            )

        log_support.commit(self._log, build)
        return is_ours


refs = st.sampled_from([f"refs/heads/{ref}" for ref in REFS])
actors = st.integers(0, MOST_ACTORS - 1)


class CollectionMachine(RuleBasedStateMachine):
    """Pushes, collections, restores and deletions in any order, each of which may stop anywhere for ever."""

    def make_log(self) -> ModelLog:
        return ToyLog(Rules())

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.world = World(self.make_log(), Rules(), Random(seed).randrange)  # noqa: S311 (it must be repeatable)
        self.actors: list[Steps] = []

    def start(self, actor: Steps) -> None:
        if len(self.actors) == MOST_ACTORS:
            self.actors.pop(0)  # it has crashed
        self.actors.append(actor)

    @rule(ref=refs, contents=st.sets(st.integers(0, OBJECTS - 1), min_size=1, max_size=2), skip=st.booleans())
    def push(self, *, ref: str, contents: set[int], skip: bool) -> None:
        self.start(self.world.push(ref, contents, skip=skip))

    @rule()
    def collect(self) -> None:
        self.start(self.world.collect())

    @rule(ref=refs)
    def drop(self, ref: str) -> None:
        self.start(self.world.drop(ref))

    @rule(ref=refs, which=st.integers(0, 100))
    def restore(self, ref: str, which: int) -> None:
        if self.world.pushed:
            self.start(self.world.restore(ref, self.world.pushed[which % len(self.world.pushed)]))

    @rule(which=actors, steps=st.integers(1, 12))
    def go_on(self, which: int, steps: int) -> None:
        for _ in range(steps):
            if which < len(self.actors) and next(self.actors[which], "done") == "done":
                del self.actors[which]
            self.nothing_is_lost()

    @rule(which=actors)
    def crash(self, which: int) -> None:
        if which < len(self.actors):
            del self.actors[which]

    @rule(data=st.data())
    def all_end_and_all_garbage_goes(self, data: st.DataObject) -> None:
        """Whoever still runs comes to an end, in any order, and a collection on its own leaves what is needed."""
        for actor in data.draw(st.permutations(self.actors)):
            for _ in actor:
                self.nothing_is_lost()
        self.actors.clear()
        for _ in self.world.collect():
            self.nothing_is_lost()

        view = self.world.log.view()
        needed = {content for commit in view.refs.values() for content in self.world.contents[commit]}
        assert sorted(pack.content for pack in self.world.store) == sorted(needed)
        assert self.world.store == view.packs
        assert not view.doomed
        assert not view.swept

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.world.dangling() == []


class RealCollectionMachine(CollectionMachine):
    """The same with the real log."""

    def make_log(self) -> ModelLog:
        return RealLog()


CollectionMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
RealCollectionMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestCollectionModel = CollectionMachine.TestCase
TestCollectionOnTheRealLog = RealCollectionMachine.TestCase


def test_with_all_rules_nothing_is_lost() -> None:
    assert not any(random_run(seed, Rules()) for seed in range(1000))


@pytest.mark.slow
def test_with_all_rules_nothing_is_lost_in_many_runs() -> None:
    assert not any(random_run(seed, Rules()) for seed in range(1000, 6000))


@pytest.mark.parametrize(
    "rules",
    [
        Rules(rescue=False),
        Rules(gone=False),
        Rules(generation=False),
        Rules(recheck=False),
        Rules(mark_base=False),
        Rules(skipped=False),
        Rules(restore=False),
    ],
    ids=["rescue", "gone", "generation", "recheck", "mark_base", "skipped", "restore"],
)
def test_without_one_of_the_rules_something_is_lost(rules: Rules) -> None:
    # Found within 300 runs here; the bound leaves room for other random numbers.
    assert any(random_run(seed, rules) for seed in range(10_000))
