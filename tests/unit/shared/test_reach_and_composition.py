"""Which groups share nobody by what they are, whom a reach holds, and what answers them."""

import json
from dataclasses import asdict

import pytest

from shared.language.groups import EVERYONE_ELSE, Composition, Layer, Reach, are_apart


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


def test_a_reach_holds_who_is_in_a_group_and_in_no_spared_one() -> None:
    reach = Reach(("reader=phone", "shorter"), ("longer",))
    assert reach.holds(("shorter",))
    assert reach.holds(("shorter", "reader=phone"))
    assert not reach.holds(("longer", "reader=phone"))
    assert not reach.holds(("plan=free",))
    assert not reach.holds(())
    assert Reach().holds(())
    assert Reach((), ("longer",)).holds(("longer",))  # who spares somebody names who gets it


@pytest.mark.parametrize(
    ("newer", "left"),
    [
        (Reach(("a=1",)), []),
        (Reach(("a=1", "b=1")), []),
        (Reach(("b=1",)), ["old"]),
        (Reach(("a=1",), ("longer",)), []),
        (Reach(("a=1",), ("shorter",)), ["old"]),
        (Reach(("a=1",), ("longer", "shorter")), ["old"]),
        (Reach(), []),
    ],
)
def test_a_layer_goes_once_it_reaches_nobody_any_more(newer: Reach, left: list[str]) -> None:
    old = Composition("base").under(Layer("old", Reach(("a=1",), ("longer",))))
    found = old.under(Layer("new", newer))
    assert [one.served_name for one in found.layers] == ["new", *left]
    assert found.names == ("new", *left, "base")


def test_the_newest_layer_that_reaches_somebody_answers_them() -> None:
    found = Composition("base").under(Layer("v1", Reach(("longer", "plan=free"))))
    found = found.under(Layer("v2", Reach(("reader=phone",), ("longer",))))
    assert found.groups == ("reader=phone", "longer", "plan=free")
    assert [
        found.answering(groups)
        for groups in (
            ("reader=phone",),
            ("longer", "reader=phone"),
            ("plan=free", "reader=phone"),
            ("plan=free",),
            (),
        )
    ] == ["v2", "v1", "v2", "v1", "base"]


def test_compositions_are_read_as_they_were_kept() -> None:
    found = Composition("base").under(Layer("v2", Reach(("reader=phone",), ("longer",))))
    assert Composition.kept(json.loads(json.dumps(asdict(found)))) == found
    older = {"served_names": {"plan=free": "v1", "shorter": "v3", "b=1": "v2"}, "others": "base"}
    read = Composition.kept(older)
    assert [
        read.answering(groups) for groups in (("shorter", "plan=free"), ("plan=free", "b=1"))
    ] == [
        "v3",
        "v2",
    ]
