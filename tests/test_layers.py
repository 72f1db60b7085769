"""Each layer knows only what is below it, and only the command line knows the user."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.conftest import PROJECT

MODULES = sorted((PROJECT / "dsvc").rglob("*.py"))
LIBRARY = [module for module in MODULES if "cli" not in module.parts and module.name != "__main__.py"]

# They need a network, a driver or half a second, so only the function that uses one imports it.
FOREIGN = {
    "adlfs", "azure", "boto3", "botocore", "dask", "distributed", "duckdb", "gcsfs", "google", "mlflow", "paramiko",
    "s3fs", "starlette", "uvicorn",
}  # fmt: skip

# Each of these is loaded only for an address of its kind, by name.
KINDS = {f"dsvc/storage/{name}.py" for name in ("azure", "gcs", "object_store", "s3", "sftp", "web")}

# What reads the user's surroundings, speaks to them or ends the process.
FORBIDDEN_CALLS = {
    "print", "input", "exit", "quit", "breakpoint", "sys.exit", "os._exit", "os.getenv", "time.time", "time.time_ns",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "getpass.getuser", "Path.home", "Path.cwd",
    "os.getcwd", "os.getcwdb",
}  # fmt: skip
FORBIDDEN_NAMES = {"sys.stdin", "sys.stdout", "sys.stderr", "sys.argv", "os.environ", "os.environb"}


def _id(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def _walk(module: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(module.read_text("utf-8")))


def test_the_contracts_of_the_layers_hold(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(PROJECT / "pyproject.toml"), cache_dir=None)

    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize("module", LIBRARY, ids=_id)
def test_the_library_neither_reads_the_surroundings_nor_speaks_nor_exits(module: Path) -> None:
    used = {ast.unparse(node) for node in _walk(module) if isinstance(node, ast.Attribute)}
    called = {ast.unparse(node.func) for node in _walk(module) if isinstance(node, ast.Call)}

    assert used & FORBIDDEN_NAMES == set()
    assert called & FORBIDDEN_CALLS == set()


@pytest.mark.parametrize("module", [module for module in MODULES if _id(module) not in KINDS], ids=_id)
def test_what_is_foreign_is_imported_where_it_is_used(module: Path) -> None:
    imported: set[str] = set()
    for node in ast.parse(module.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])

    assert imported & (FOREIGN | {"fsspec"}) == set()


@pytest.mark.parametrize("module", [module for module in MODULES if _id(module) not in KINDS], ids=_id)
def test_what_needs_a_network_is_imported_by_name_only(module: Path) -> None:
    imported = {node.module for node in _walk(module) if isinstance(node, ast.ImportFrom)}

    assert imported & {kind.removesuffix(".py").replace("/", ".") for kind in KINDS} == set()


@pytest.mark.parametrize("module", MODULES, ids=_id)
def test_every_module_says_what_it_is(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"))
    assigned = {ast.unparse(target) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets}

    assert ast.get_docstring(tree)
    assert module.name == "__init__.py" or "__all__" in assigned
