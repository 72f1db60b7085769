"""The refs that remember where a remote's branches and aliases are, also when it is renamed or forgotten."""

from collections.abc import Mapping

from dsvc.history.store import Store
from dsvc.log.entry import RefChange
from dsvc.log.refs import ALIASES, HEADS, REMOTES, alias_ref, remote_ref
from dsvc.log.state import State

__all__ = ["changes_to", "forget_branches", "rename_branches", "tracking_ref"]


def tracking_ref(remote: str, ref: str) -> str:
    """Return what remembers the branch or alias *ref*, a full name, of *remote*."""
    return remote_ref(remote, ref.removeprefix(HEADS)) if ref.startswith(HEADS) else alias_ref(remote, ref)


def changes_to(state: State, values: Mapping[str, str | None]) -> list[RefChange]:
    """Return the changes that give refs *values*, as far as they have others in *state*."""
    return [RefChange(ref, state.value(ref), new) for ref, new in values.items() if state.value(ref) != new]


def _prefixes(remote: str) -> tuple[str, str]:
    return f"{REMOTES}{remote}/", f"{ALIASES}{remote}/"


def forget_branches(store: Store, remote: str) -> None:
    """Remove what is known of the branches and aliases of *remote*."""
    prefix = _prefixes(remote)

    def build(state: State) -> list[RefChange] | None:
        gone = [RefChange(ref, value.value, None) for ref, value in state.refs.items() if ref.startswith(prefix)]
        return gone or None

    store.publish(build)


def rename_branches(store: Store, remote: str, new_name: str) -> None:
    """Let *new_name* be what *remote* was."""

    def build(state: State) -> list[RefChange] | None:
        changes = []
        for ref, value in state.refs.items():
            for prefix, new_prefix in zip(_prefixes(remote), _prefixes(new_name), strict=True):
                if not ref.startswith(prefix):
                    continue
                renamed = new_prefix + ref.removeprefix(prefix)
                changes += [RefChange(ref, value.value, None), RefChange(renamed, state.value(renamed), value.value)]
        return changes or None

    store.publish(build)
