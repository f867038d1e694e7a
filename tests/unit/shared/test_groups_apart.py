"""Which groups share nobody by what they are."""

import pytest

from shared.language.groups import EVERYONE_ELSE, are_apart


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("shorter", "longer", True),
        ("plan=free", "plan=pro", True),
        ("plan=free", EVERYONE_ELSE, True),
        ("plan=free", "reader=phone", False),
        ("shorter", "plan=free", False),
        ("shorter", EVERYONE_ELSE, False),
        ("shorter", "shorter", False),
        (EVERYONE_ELSE, EVERYONE_ELSE, False),
    ],
)
def test_groups_that_share_nobody(one: str, other: str, apart: bool) -> None:
    assert are_apart(one, other) is apart
    assert are_apart(other, one) is apart
