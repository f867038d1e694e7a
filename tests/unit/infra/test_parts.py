"""A part appears whole or not at all, and is built once."""

from pathlib import Path

import pytest

from infra.local.parts import STAMP, Part, PartsError, install


def part(source: Path, contents: str = "jar") -> Part:
    return Part("toy", "toy", (source,), lambda folder: _write(folder / "lib", contents))


def _write(file: Path, contents: str) -> None:
    file.write_text(contents)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "pom.xml"
    file.write_text("1")
    return file


def test_a_built_part_stays_built_until_its_source_changes(tmp_path: Path, source: Path) -> None:
    parts = tmp_path / "parts"
    toy = part(source)
    assert not toy.is_built(parts)
    install(toy, parts)
    assert toy.is_built(parts)
    source.write_text("2")
    assert not toy.is_built(parts)


def test_a_new_build_replaces_the_old_one(tmp_path: Path, source: Path) -> None:
    parts = tmp_path / "parts"
    install(part(source, "old"), parts)
    install(part(source, "new"), parts)
    assert (parts / "toy" / "lib").read_text() == "new"
    assert sorted(path.name for path in parts.iterdir()) == ["toy"]


def test_a_failed_build_leaves_what_was_there(tmp_path: Path, source: Path) -> None:
    def fail(_: Path) -> None:
        raise PartsError("no broker today")

    parts = tmp_path / "parts"
    install(part(source, "old"), parts)
    with pytest.raises(PartsError):
        install(Part("toy", "toy", (source,), fail), parts)
    assert (parts / "toy" / "lib").read_text() == "old"
    assert (parts / "toy" / STAMP).exists()
    assert sorted(path.name for path in parts.iterdir()) == ["toy"]
