"""In which numbers models are computed."""

from pathlib import Path

import pytest

from shared.encoding.precision import has_bfloat16


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16", True),
        ("flags\t\t: fpu avx2 f16c avx512f", False),
        ("bugs\t\t: bf16", False),
        ("", False),
    ],
)
def test_only_a_processor_that_says_so_computes_in_bfloat16(
    line: str, has: bool, tmp_path: Path
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nmodel name\t: one\n{line}\n")
    assert has_bfloat16(told) is has


def test_where_nobody_says_it_is_not_assumed(tmp_path: Path) -> None:
    assert not has_bfloat16(tmp_path / "missing")
