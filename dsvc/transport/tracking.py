"""The refs that remember where a remote's branches are, when the remote itself is renamed or forgotten."""

from dsvc.history.store import Store
from dsvc.log.entry import RefChange
from dsvc.log.refs import REMOTES
from dsvc.log.state import State

__all__ = ["forget_branches", "rename_branches"]


def forget_branches(store: Store, remote: str) -> None:
    """Remove what is known of the branches of *remote*."""
    prefix = f"{REMOTES}{remote}/"

    def build(state: State) -> list[RefChange] | None:
        gone = [RefChange(ref, value.value, None) for ref, value in state.refs.items() if ref.startswith(prefix)]
        return gone or None

    store.publish(build)


def rename_branches(store: Store, remote: str, new_name: str) -> None:
    """Let *new_name* be what *remote* was."""
    prefix = f"{REMOTES}{remote}/"

    def build(state: State) -> list[RefChange] | None:
        changes = []
        for ref, value in state.refs.items():
            if ref.startswith(prefix):
                renamed = f"{REMOTES}{new_name}/{ref.removeprefix(prefix)}"
                changes += [RefChange(ref, value.value, None), RefChange(renamed, state.value(renamed), value.value)]
        return changes or None

    store.publish(build)
