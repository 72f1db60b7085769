"""dsvc demo."""

from pathlib import Path

from dsvc.cli.demo_data import same_files
from tests.conftest import RunDsvc


def test_it_goes_all_the_way_and_shows_each_step(tmp_path: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("demo", "try", cwd=tmp_path)

    for step in ("dsvc init", "dsvc add -A", "dsvc commit", "dsvc push", "dsvc clone", "dsvc fsck", "dsvc log"):
        assert f"$ {step}" in result.stdout
    assert "The clone is the same in every byte and bit: 1,527 files" in result.stdout
    assert str(tmp_path / "try") in result.lines[-1]
    assert same_files(tmp_path / "try" / "dataset", tmp_path / "try" / "clone") is not None


def test_it_does_not_touch_a_folder_with_something_in_it(tmp_path: Path, run_dsvc: RunDsvc) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")

    run_dsvc("demo", "mine", cwd=tmp_path, code=5)

    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]


def test_a_difference_is_seen(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "file").write_text("same")
    assert same_files(one, other) == (1, 4)

    (other / "file").chmod(0o755)

    assert same_files(one, other) is None
