"""Snapshots under the real cron daemon, with the environment that it gives and the mail that it sends.

It runs in namespaces of its own, where the crontabs and the mail system are the test's. So nothing outside is touched,
and the kernel removes all of it with the process, whatever happens to the test.
"""

import os
import re
import select
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from dsvc.cli.snapshot import command
from tests.conftest import PROJECT, RunDsvc

# cron wakes up once in a minute; all beyond that is for slow machines.
DEADLINE = 240

NAMESPACES = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

# Where cron looks for crontabs, for its own lock, and for the program that sends mail.
START = """\
set -eu
cd "$1"
mount --bind cron.d /etc/cron.d
mount --bind /dev/null /etc/crontab
mount --bind spool /var/spool/cron/crontabs
mount -t tmpfs none /run
mount -t overlay overlay -o "lowerdir=$1/sbin:/usr/sbin" /usr/sbin
exec /usr/sbin/cron -f
"""
SENDMAIL = """\
#!/bin/sh
cat > {folder}/mail.$$ && mv {folder}/mail.$$ {folder}/mails/$$ && echo mail >> {told}
"""


def obstacle() -> str | None:
    """Return why cron cannot run here, and what would let it."""
    if sys.platform != "linux":
        return "the test needs Linux"
    if not Path("/usr/sbin/cron").exists():
        return "cron is missing; `apt-get install cron` gets it"
    if os.geteuid() != 0:
        return "only root can start cron: `sudo .venv/bin/python -m pytest tests/test_cron.py`"
    tried = subprocess.run([*NAMESPACES, "mount", "-t", "tmpfs", "none", "/run"], capture_output=True, check=False)
    if tried.returncode:
        return f"cron needs a root who may mount, as with `docker run --privileged`: {os.fsdecode(tried.stderr)}"
    return None


class Cron:
    """The crontab *lines*, each a name and a command of its own, and what has become of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mails = folder / "mails"
        self.told = folder / "told"
        for name in ("cron.d", "spool", "sbin", "mails"):
            (folder / name).mkdir()
        sendmail = folder / "sbin" / "sendmail"
        sendmail.write_text(SENDMAIL.format(folder=shlex.quote(str(folder)), told=shlex.quote(str(self.told))))
        sendmail.chmod(0o755)
        os.mkfifo(self.told)

    @contextmanager
    def running(self, lines: dict[str, str]) -> Iterator[None]:
        told = shlex.quote(str(self.told))
        jobs = [f"* * * * * root {line}; echo {name} $? >> {told}" for name, line in lines.items()]
        table = [f'PYTHONPATH="{PROJECT}"', "MAILTO=keeper", *jobs, ""]
        (self.folder / "cron.d" / "dsvc").write_text("\n".join(table))
        daemon = subprocess.Popen(
            [*NAMESPACES, "sh", "-c", START, "sh", self.folder], stdin=subprocess.DEVNULL, env={"PATH": os.defpath}
        )
        try:
            yield
        finally:
            daemon.kill()
            daemon.wait()

    def wait_for(self, names: set[str], mails: int) -> dict[str, str]:
        """Wait until all *names* have ended, and so many mails are there; return the exit codes."""
        codes: dict[str, str] = {}
        # Open for writing too, so that it never ends.
        descriptor = os.open(self.told, os.O_RDWR | os.O_NONBLOCK)
        until = monotonic() + DEADLINE
        try:
            while codes.keys() != names or len(self.read_mails()) < mails:
                assert select.select([descriptor], [], [], until - monotonic())[0], f"cron has told only {codes}"
                for line in os.read(descriptor, 4096).decode().splitlines():
                    name, _, code = line.partition(" ")
                    if code:
                        codes.setdefault(name, code)
        finally:
            os.close(descriptor)
        return codes

    def read_mails(self) -> list[str]:
        return [mail.read_text() for mail in self.mails.iterdir()]


@pytest.fixture
def cron(tmp_path: Path) -> Cron:
    reason = obstacle()
    if reason is not None and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path / "cron"
    folder.mkdir()
    return Cron(folder)


def documented() -> list[str]:
    """Return the commands of the crontab lines in the manual."""
    return re.findall(r"^ +\S+ \S+ \* \* \*  (/usr/local/bin/dsvc .*)$", command.__doc__ or "", re.MULTILINE)


def make(run_dsvc: RunDsvc, root: Path, remote: str) -> Path:
    run_dsvc("init", "-q", root)
    run_dsvc("remote", "add", remote, f"../{root.name}-{remote}", cwd=root)
    (root / "caf\N{LATIN SMALL LETTER E WITH ACUTE}").write_text("data")
    (root / os.fsdecode(b"caf\xe9")).write_text("data of old times")
    return root


@pytest.mark.slow
def test_cron_takes_snapshots_and_sends_mail_of_what_is_said(cron: Cron, tmp_path: Path, run_dsvc: RunDsvc) -> None:
    outside = sorted(Path("/etc/cron.d").iterdir())
    quiet, logged = make(run_dsvc, tmp_path / "quiet", "origin"), make(run_dsvc, tmp_path / "logged", "backup")
    both = make(run_dsvc, tmp_path / "both", "origin")
    plain = tmp_path / "plain"
    plain.mkdir()
    dsvc = f"{shlex.quote(sys.executable)} -m dsvc"
    first, second = (line.replace("/usr/local/bin/dsvc", dsvc) for line in documented())
    lines = {
        "quiet": first.replace("/data/images", str(quiet)),
        "logged": second.replace("/data/images", str(logged)).replace("/var/log/images.log", str(tmp_path / "log")),
        "failing": first.replace("/data/images", str(plain)),
        "one": f"{dsvc} snapshot --on-overlap=wait {both}",
        "other": f"{dsvc} snapshot --on-overlap=wait {both}",
    }

    with cron.running(lines):
        codes = cron.wait_for(set(lines), mails=3)

    assert codes == {"quiet": "0", "logged": "0", "failing": "3", "one": "0", "other": "0"}
    for root, remote in ((quiet, "origin"), (logged, "backup"), (both, "origin")):
        assert run_dsvc("log", "--format=%s", cwd=root).lines == ["Snapshot: 2 new"]
        run_dsvc("clone", "-q", f"{root.name}-{remote}", f"{root.name}-clone")
        assert {path.read_text() for path in (tmp_path / f"{root.name}-clone").iterdir() if path.is_file()} == {
            "data",
            "data of old times",
        }
    assert "] 2 new (21 B); pushed 1 version to backup (" in (tmp_path / "log").read_text().splitlines()[0]
    bodies = sorted(mail.partition("\n\n")[2] for mail in cron.read_mails() if str(both) in mail)[:2]
    assert "] 2 new (21 B); pushed 1 version to origin (" in bodies[0]
    assert "] nothing changed; origin is up to date\n" in bodies[1]
    assert [body.count("\n") for body in bodies] == [1, 1]
    (failure, *_) = (mail for mail in cron.read_mails() if str(both) not in mail)
    assert "To: keeper\n" in failure
    assert f"error: not a dsvc repository (or any of the parent folders): {plain}\n" in failure
    assert sorted(Path("/etc/cron.d").iterdir()) == outside
