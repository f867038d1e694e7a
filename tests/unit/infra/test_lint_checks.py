"""The small checks of `make lint`, by what they find."""

from pathlib import Path

import pytest

from infra.lint.lines import too_long
from infra.lint.places import check, named_places


def written(folder: Path, name: str, lines: int) -> Path:
    (folder / name).write_text("x\n" * lines)
    return Path(name)


def test_only_files_over_the_limit_are_named(tmp_path: Path) -> None:
    files = [written(tmp_path, "fits.py", 400), written(tmp_path, "long.proto", 401)]
    assert too_long(files, tmp_path) == ["long.proto: 401 lines, over 400"]


def test_data_may_be_longer(tmp_path: Path) -> None:
    assert too_long([written(tmp_path, "pairs.jsonl", 900)], tmp_path) == []


def host(*parts: str) -> str:
    return ".".join(parts)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (f"--index-url https://{host('pypi', 'org')}/simple", host("pypi", "org")),
        (host("registry", "npmjs", "org"), host("registry", "npmjs", "org")),
        ("root = " + "/".join(("", "work", "main")), "/".join(("", "work", "main"))),
        ("cd " + "/".join(("", "home", "ada")) + "/src", "/".join(("", "home", "ada"))),
    ],
)
def test_a_host_or_a_machines_folder_is_found(line: str, named: str) -> None:
    assert named_places(f"first\n{line}\n") == [(2, named)]


@pytest.mark.parametrize(
    "line", ["GET /work-items/7", "docs/home/page", "$ROOT/home/x", "see the framework/main loop"]
)
def test_other_text_passes(line: str) -> None:
    assert named_places(line) == []


def test_a_problem_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("\nget " + host("proxy", "golang", "org"))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    found = check([Path("notes.md"), Path("picture.png")], tmp_path)
    assert found == [f"notes.md:2: names {host('proxy', 'golang', 'org')}"]
