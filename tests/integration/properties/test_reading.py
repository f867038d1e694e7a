"""Reading files to import: whatever they hold, records come out whole or are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.adapters.files import parse, records_of
from shared.language.errors import InvalidArgument


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file that every generated example is written to."""
    return tmp_path_factory.mktemp("examples") / "x.json"


@given(content=st.binary(max_size=300))
def test_no_bytes_break_the_reading(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for record in records_of(path, "x"):
        try:
            parse(record.raw)
        except InvalidArgument as error:
            assert error.reason in ("BROKEN_UTF8", "UNREADABLE")


_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(
    elements=st.lists(st.dictionaries(st.text(max_size=6), _JSON), max_size=6),
    indent=st.integers(0, 3),
)
def test_an_array_is_cut_where_its_elements_end(
    path: Path, elements: list[dict[str, Any]], indent: int
) -> None:
    path.write_text(json.dumps(elements, indent=indent or None, ensure_ascii=bool(indent % 2)))
    assert [parse(record.raw) for record in records_of(path, "x")] == elements
