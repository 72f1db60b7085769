"""Links as the commands see them that may meet some: opened, and as JSON."""

from dsvc.cli import console
from dsvc.datasets.link_policy import read_policy
from dsvc.datasets.links import Linked, Links
from dsvc.worktree.worktree import Worktree

__all__ = ["link_record", "open_links"]


def open_links(worktree: Worktree, *, anything: bool) -> Links:
    """Return what reads the links of the repository, with *anything* wherever they lead."""
    policy = read_policy(worktree.config, worktree.control, anything=anything)
    return Links(worktree.config, worktree.store.context, policy)


def link_record(one: Linked) -> dict[str, object]:
    """Return a link for JSON."""
    entry, link = one
    return {
        **console.json_path(entry.path),
        "url": link.url,
        "size": entry.size,
        "digest": entry.digest.hex() or None,
        "etag": link.etag or None,
        "version_id": link.version_id or None,
        "modified": console.format_iso_date(link.modified, 0) if link.modified else None,
    }
