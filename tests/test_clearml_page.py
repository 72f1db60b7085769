"""dsvc-clearml(7) leaves nothing of clearml-data out, and names only what there is here."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsvc.cli.commands import COMMANDS, load, load_subcommands
from dsvc.cli.options import Option
from dsvc.cli.parser import parameters
from dsvc.config import KEYS
from tests.conftest import PROJECT
from tests.forked import Desk, desk
from tests.worktree_support import read_files, write_files

__all__ = ["desk"]

# clearml-data 2.1.12 has these, and 89 flags.
FLAGS = {
    "create": "name project version parents storage output-uri tags",
    "add": "id files wildcard links dataset-folder non-recursive verbose max-workers",
    "set-description": "description id",
    "sync": "folder id project name parents version tags storage output-uri dataset-folder chunk-size skip-close"
    " verbose",
    "remove": "id files non-recursive verbose",
    "upload": "id storage chunk-size max-workers verbose",
    "close": "id storage disable-upload chunk-size max-workers verbose",
    "publish": "id",
    "delete": "id project name version force entire-dataset",
    "rename": "new-name project name",
    "move": "new-project project name",
    "compare": "source target verbose",
    "squash": "name ids storage verbose",
    "verify": "id folder filesize verbose",
    "search": "ids project name tags not-only-completed non-recursive-project-search",
    "list": "id project name version filter modified",
    "get": "id copy link part num-parts overwrite max-workers verbose",
}
MEMBERS = {
    *("create", "get", "list_datasets", "rename", "move_to_project", "delete"),
    *("add_files", "add_external_files", "remove_files", "sync_folder", "upload", "finalize", "publish"),
    *("set_description", "tags", "add_tags", "version", "set_metadata", "get_metadata", "get_logger"),
    *("update_changed_files", "get_local_copy", "get_mutable_local_copy", "list_files", "list_added_files"),
    *("list_removed_files", "list_modified_files", "get_dependency_graph", "get_num_chunks", "get_default_storage"),
    *("is_final", "is_dirty", "file_entries", "link_entries", "file_entries_dict", "link_entries_dict"),
    *("id", "name", "project", "verify_dataset_hash", "squash"),
    *("set_offline", "get_offline_mode_folder", "import_offline_session"),
}
ARGUMENTS = {
    *("use_current_task", "alias", "overridable", "only_published", "only_completed", "include_archived"),
    *("auto_create", "writable_copy", "shallow_search", "delete_external_files", "read_hash", "compression"),
    *("retries", "preview", "upload_as_external_links", "use_soft_links", "part", "num_parts", "files"),
}

SOURCE = (PROJECT / "man/man7/dsvc-clearml.7").read_text("utf-8")
TEXT = re.sub(r"\\f[BIR]|\\&", "", SOURCE).replace("\\-", "-").replace("\\(ti", "~").replace("\\e", "\\")


def section(text: str, kind: str, title: str) -> str:
    found = re.search(rf"^\.{kind} {re.escape(title)}\n(.*?)(?=^\.{kind} |^\.SH |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def terms(text: str) -> set[str]:
    return {term for line in re.findall(r"^\.TP\n(.*)$", text, re.MULTILINE) for term in line.split(", ")}


@pytest.mark.parametrize("command", FLAGS)
def test_each_command_is_there_with_each_of_its_flags(command: str) -> None:
    assert len(FLAGS) == 17
    assert sum(len(flags.split()) for flags in FLAGS.values()) == 89

    described = section(section(TEXT, "SH", "COMMANDS"), "SS", command)

    assert terms(described) == {f"--{flag}" for flag in FLAGS[command].split()}


def test_each_member_of_the_sdk_is_there_with_what_it_takes() -> None:
    described = section(TEXT, "SH", "THE SDK")

    assert terms(described) >= MEMBERS
    assert all(re.search(rf"\b{argument}\b", described) for argument in ARGUMENTS)


def test_a_days_work_does_what_it_says(desk: Desk) -> None:
    lake = desk.folder / "lake"
    write_files(lake, {b"a.jpg": b"1", b"deep/b.jpg": b"2"})
    shutil.rmtree(desk.work / ".dsvc")
    day = section(TEXT, "SS", "A day's work").split("is here")[1]
    lines = [line for line in day.splitlines() if line.startswith("dsvc ")]
    assert len(lines) == 6

    for line in lines:
        words = shlex.split(
            line.replace("/mnt/lake", str(lake)).replace("s3://bucket/images", str(desk.folder / "images"))
        )
        ended = desk("-c", f"cache.dir={desk.folder / 'cache'}", *words[1:])

    assert read_files(Path(ended.stdout.removesuffix("\n"))) == {b"a.jpg": b"1", b"deep/b.jpg": b"2"}


def named() -> Iterator[tuple[str, list[str]]]:
    """Yield each command of dsvc that the page names, in bold or in an example, and the words behind it."""
    source = re.sub(r"(\\fB|^|[; ] )dsvc (?=\w)", r"\1DSVC ", SOURCE, flags=re.MULTILINE)
    text = re.sub(r"\\f[BIR]|\\&", "", source).replace("\\-", "-")
    for rest in text.split("DSVC ")[1:]:
        # Up to the end of the line, or of the clause.
        name, *words = re.split(r"\n|[.,;:()](?= |\n)", rest)[0].split()
        yield name, words


def test_the_commands_and_options_that_are_named_exist() -> None:
    found = list(named())

    assert len(found) > 100
    for name, rest in found:
        assert name in COMMANDS, name
        forms = load_subcommands(name)
        command = forms.get(rest[0] if rest else "", load(name))
        known = {each for one in parameters(command) if isinstance(one.declared, Option) for each in one.declared.names}
        if rest and re.fullmatch(r"[a-z]+", rest[0]) and forms:
            assert rest[0] in forms, f"{name} {rest[0]}"
        for word in rest:
            if re.fullmatch(r"--?[a-zA-Z][a-z-]*", word):
                assert word in known or (word[1] != "-" and word[:2] in known), f"{name} {word}"


def test_the_settings_that_are_named_exist() -> None:
    for name in re.findall(r"(?<![.\w])(?:remote\.NAME|cache|add|commit|use)\.[a-z-]+", TEXT):
        assert name.replace("NAME", "*") in KEYS, name
