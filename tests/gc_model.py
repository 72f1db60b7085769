"""A model of pushes and garbage collection that run at once: small enough to try every order of events.

Each actor is a generator that stops wherever another may come between. An object is a number, a
pack is one object under a generation. What the log is, is a parameter: a toy in which rules can be
left out, or the real one. From `storage-engines.md`, appendix A, with pushes that skip, restores,
and marks that look at the log.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, Protocol

from dsvc.log.state import Standing

__all__ = ["Change", "ModelLog", "Pack", "Rules", "ToyLog", "View", "World", "random_run"]

OBJECTS = 6
REFS = ["a", "b", "c"]

Steps = Iterator[None]
Choose = Callable[[int], int]


class Pack(NamedTuple):
    """A pack as the store names it."""

    content: int
    generation: int


@dataclass(frozen=True)
class Rules:
    """What keeps data; each can be left out, to see that it is needed."""

    rescue: bool = True
    gone: bool = True  # a name of an older generation that is not live does not come back, though it be doomed
    generation: bool = True
    recheck: bool = True
    mark_base: bool = True
    skipped: bool = True
    restore: bool = True


@dataclass(frozen=True)
class Change:
    """What an actor wants to add to the log. A ref is set to a commit, or to None."""

    refs: dict[str, int | None] = field(default_factory=dict)
    add: frozenset[Pack] = frozenset()
    rescue: frozenset[Pack] = frozenset()
    mark: frozenset[Pack] = frozenset()
    sweep: frozenset[Pack] = frozenset()
    deleted: frozenset[Pack] = frozenset()


class View(Protocol):
    """The state after entry *number*, as an actor sees it."""

    @property
    def number(self) -> int: ...
    @property
    def refs(self) -> dict[str, int]: ...
    @property
    def packs(self) -> frozenset[Pack]: ...
    @property
    def doomed(self) -> frozenset[Pack]: ...
    @property
    def swept(self) -> frozenset[Pack]: ...
    @property
    def last_sweep(self) -> int: ...
    def standing(self, pack: Pack) -> Standing: ...


class ModelLog(Protocol):
    """A log: the newest state, and the exclusive creation of what follows a state."""

    def view(self) -> View: ...
    def append(self, view: View, change: Change) -> bool: ...


@dataclass(frozen=True)
class ToyView:
    """A state as plain sets. Without generations, all that was ever swept is remembered."""

    number: int = 0
    refs: dict[str, int] = field(default_factory=dict)
    packs: frozenset[Pack] = frozenset()
    doomed: frozenset[Pack] = frozenset()
    swept: frozenset[Pack] = frozenset()
    last_sweep: int = 0
    rules: Rules = Rules()

    def standing(self, pack: Pack) -> Standing:
        if pack in self.doomed and not self.rules.gone:
            return Standing.DOOMED
        if pack in self.packs:
            return Standing.DOOMED if pack in self.doomed else Standing.LIVE
        if pack in self.swept or (self.rules.generation and pack.generation != self.last_sweep):
            return Standing.GONE
        return Standing.DOOMED if pack in self.doomed else Standing.NEW

    def after(self, change: Change) -> "ToyView":
        refs = {**self.refs, **change.refs}
        number = self.number + 1
        return ToyView(
            number,
            {name: commit for name, commit in refs.items() if commit is not None},
            (self.packs | change.add) - change.sweep,
            (self.doomed - change.rescue | change.mark) - change.sweep,
            (self.swept - change.add - (change.deleted if self.rules.generation else frozenset())) | change.sweep,
            number if change.sweep else self.last_sweep,
            self.rules,
        )


class ToyLog:
    """A log that believes everybody, so that actors can break the rules."""

    def __init__(self, rules: Rules) -> None:
        self._state = ToyView(rules=rules)

    def view(self) -> ToyView:
        return self._state

    def append(self, view: View, change: Change) -> bool:
        if view.number != self._state.number:
            return False
        self._state = self._state.after(change)
        return True


class World:
    """A store, its log, and all commits that anybody ever made."""

    def __init__(self, log: ModelLog, rules: Rules, choose: Choose) -> None:
        self.log = log
        self.rules = rules
        self.choose = choose  # a number below its argument
        self.store: set[Pack] = set()
        self.contents: list[frozenset[int]] = []  # of each commit, with all that its parents have
        self.parents: list[int | None] = []
        self.pushed: list[int] = []  # commits that a ref has been at

    def dangling(self) -> list[tuple[str, int]]:
        """Return each ref and object of its commit that no live pack in the store has."""
        view = self.log.view()
        there = {pack.content for pack in view.packs & self.store}
        return [(ref, each) for ref, commit in view.refs.items() for each in self.contents[commit] - there]

    def reachable(self, view: View) -> set[int]:
        """Return the commits that refs lead to."""
        found: set[int] = set()
        for commit in view.refs.values():
            each: int | None = commit
            while each is not None and each not in found:
                found.add(each)
                each = self.parents[each]
        return found

    def push(self, ref: str, contents: set[int], *, skip: bool) -> Steps:
        """Put a commit of *contents*, on top of what *ref* is at, into *ref*; *skip* what is below, as it is there."""
        view = self.log.view()
        parent = view.refs.get(ref)
        below: frozenset[int] = self.contents[parent] if parent is not None else frozenset()
        commit = len(self.contents)
        self.contents.append(below | contents)
        self.parents.append(parent)
        yield
        use: dict[int, Pack] = {}
        for content in contents if skip else below | contents:
            yield from self._provide(content, use, view, again=self.choose(5) == 0)
        while True:
            view = self.log.view()
            yield
            if skip and self.rules.skipped and parent is not None and parent not in self.reachable(view):
                for content in below - use.keys():
                    yield from self._provide(content, use, view, again=False)
            change = yield from self._settle(view, use, {ref: commit})
            if self.log.append(view, change):
                self.pushed.append(commit)
                return
            yield

    def _provide(self, content: int, use: dict[int, Pack], view: View, *, again: bool) -> Steps:
        """Find a pack with *content* in what is live, or store one; *again* if one is there already."""
        live = sorted(pack for pack in view.packs if pack.content == content)
        if live and not again:
            use[content] = live[self.choose(len(live))]
        else:
            use[content] = self._upload(content, view)
        yield

    def _upload(self, content: int, view: View) -> Pack:
        pack = Pack(content, view.last_sweep if self.rules.generation else 0)
        self.store.add(pack)
        return pack

    def _settle(self, view: View, use: dict[int, Pack], refs: dict[str, int | None]) -> Generator[None, None, Change]:
        """Return the change that makes what is used live in *view*, and sets *refs*."""
        add, rescue = set(), set()
        for content, pack in list(use.items()):
            standing, checked = view.standing(pack), pack
            if standing is Standing.GONE:
                use[content] = checked = self._upload(content, view)
                yield
                standing = view.standing(checked) if self.rules.recheck else Standing.NEW
            if standing is Standing.DOOMED and self.rules.rescue:
                rescue.add(checked)
            add.add(checked)
        return Change(refs, add=frozenset(add), rescue=frozenset(rescue))

    def restore(self, ref: str, commit: int) -> Steps:
        """Set *ref* to a *commit* of the past, if what it holds has not been collected."""
        while True:
            view = self.log.view()
            yield
            rescue: set[Pack] = set()
            if self.rules.restore and commit not in self.reachable(view):
                for content in self.contents[commit]:
                    live = sorted(pack for pack in view.packs if pack.content == content)
                    if not live:
                        return
                    if not set(live) - view.doomed:
                        rescue.add(live[0])
            if self.log.append(view, Change({ref: commit}, rescue=frozenset(rescue))):
                return
            yield

    def drop(self, ref: str) -> Steps:
        """Delete *ref*."""
        yield
        view = self.log.view()
        if ref in view.refs:
            self.log.append(view, Change({ref: None}))

    def collect(self) -> Steps:
        """Mark what no ref needs, sweep what nobody has rescued, delete it; finish what others have left."""
        view = self.log.view()
        yield from self._delete(view.swept)
        while True:
            view = self.log.view()
            listed = frozenset(self.store)
            yield
            mark = self._garbage(view, listed)
            if not self.rules.mark_base:
                yield
                view = self.log.view()
            if self.log.append(view, Change(mark=mark)):
                break
            yield
        while True:
            yield
            view = self.log.view()
            sweep = mark & view.doomed
            yield
            if self.log.append(view, Change(sweep=sweep)):
                break
        yield from self._delete(sweep)

    def _garbage(self, view: View, listed: frozenset[Pack]) -> frozenset[Pack]:
        needed = {content for commit in view.refs.values() for content in self.contents[commit]}
        keep = {}
        for pack in sorted(view.packs - view.doomed):
            if pack.content in needed and (pack.content not in keep or self.choose(2)):
                keep[pack.content] = pack
        return listed - set(keep.values()) - view.swept

    def _delete(self, packs: frozenset[Pack]) -> Steps:
        for pack in sorted(packs):
            yield
            self.store.discard(pack)
        yield
        if packs:
            self.log.append(self.log.view(), Change(deleted=packs))


class Setting(NamedTuple):
    """How busy a random run is: how many actors at once, and of what kinds."""

    steps: int
    actors: int
    objects: int
    collect: float
    drop: float
    restore: float


CALM = Setting(steps=300, actors=4, objects=6, collect=0.3, drop=0.15, restore=0.1)
# Many collections and few objects: deletions come late, and names come again.
CROWDED = Setting(steps=500, actors=12, objects=3, collect=0.5, drop=0.1, restore=0.05)


def random_run(seed: int, rules: Rules) -> bool:
    """Let actors run in the order that *seed* gives; tell whether anything that a ref needs was lost."""
    random = Random(seed)  # noqa: S311 (it must be repeatable)
    setting = random.choice((CALM, CROWDED))
    world = World(ToyLog(rules), rules, random.randrange)
    actors: list[Steps] = []
    for step in range(setting.steps):
        if step < setting.steps * 3 // 4 and len(actors) < setting.actors:
            actors.append(_random_actor(world, random, setting))
        if not actors:
            break
        actor = random.choice(actors)
        # An actor that is never asked to go on has crashed.
        if random.random() < 0.02 or next(actor, "done") == "done":
            actors.remove(actor)
        if world.dangling():
            return True
    return False


def _random_actor(world: World, random: Random, setting: Setting) -> Steps:
    ref, kind = random.choice(REFS), random.random()
    if kind < setting.collect:
        return world.collect()
    if kind < setting.collect + setting.drop:
        return world.drop(ref)
    if kind < setting.collect + setting.drop + setting.restore and world.pushed:
        return world.restore(ref, random.choice(world.pushed))
    contents = {random.randrange(setting.objects) for _ in range(2)}
    return world.push(ref, contents, skip=random.random() < 0.5)
