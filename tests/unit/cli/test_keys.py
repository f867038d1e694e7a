"""trimtab keys and tenants: what is asked, and what a person sees."""

from __future__ import annotations

from typing import Any

import pytest

KEY = {
    "name": "tenants/local/keys/0123456789abcdef",
    "display_name": "web",
    "prefix": "tt_AbCd",
    "roles": ["KEY_ROLE_READER", "KEY_ROLE_WRITER"],
    "create_time": "2026-03-01T12:00:00Z",
}


def test_a_key_is_made_and_shown_once(trimtab: Any) -> None:
    answers = {"CreateKey": {"key": KEY, "secret": "tt_secret"}}
    ran = trimtab(
        "keys", "create", "web", "--role", "writer", "--role", "reader", "--lifetime", "90d",
        answers=answers,
    )  # fmt: skip
    assert ran.code == 0
    assert ran.out.startswith("tt_secret\n")
    assert "not shown again" in ran.out
    assert ran.platform.asked[-1] == (
        "interaction",
        "CreateKey",
        {
            "display_name": "web",
            "roles": ["KEY_ROLE_WRITER", "KEY_ROLE_READER"],
            "lifetime": "7776000s",
        },
    )


@pytest.mark.parametrize(
    "words", [("--role", "root"), ("--role", "writer", "--lifetime", "soon"), ()]
)
def test_a_key_that_makes_no_sense_is_a_usage_error(trimtab: Any, words: tuple[str, ...]) -> None:
    assert trimtab("keys", "create", "web", *words).code == 2


def test_keys_are_listed_without_their_text(trimtab: Any) -> None:
    revoked = {**KEY, "display_name": "old", "revoke_time": "2026-03-02T12:00:00Z"}
    answers = {"ListKeys": {"keys": [KEY, revoked]}}
    ran = trimtab("keys", "list", "--all", answers=answers)
    assert "0123456789abcdef" in ran.out
    assert "reader, writer" in ran.out
    assert "revoked 2026-03-02" in ran.out
    assert ran.platform.asked[-1][2]["show_ended"] is True


def test_keys_are_rotated_and_revoked_by_id_or_name(trimtab: Any) -> None:
    rotated = {"key": {**KEY, "rotated_from": "tenants/local/keys/old"}, "secret": "tt_new"}
    ran = trimtab("keys", "rotate", "old", "--grace", "24h", answers={"RotateKey": rotated})
    assert ran.platform.asked[-1][2] == {"name": "tenants/local/keys/old", "grace": "86400s"}
    assert "tt_new" in ran.out
    ran = trimtab("keys", "revoke", KEY["name"], answers={"RevokeKey": {"key": KEY}}, down=())
    assert ran.platform.asked[-1][2] == {"name": KEY["name"]}
    assert ran.out == f"{KEY['name']} is revoked.\n"


def test_a_quota_is_shown_and_changed_in_parts(trimtab: Any) -> None:
    held = {"requests_per_second": 5.0, "turns_per_second": 0.0, "burst_seconds": 2.0}
    answers = {
        "GetQuota": {"quota": held},
        "SetQuota": lambda request: {"quota": request["quota"]},
    }
    shown = trimtab("tenants", "quota", answers=answers)
    assert shown.out == (
        "requests per second: 5\nturns per second: no limit\nburst: 2 seconds' worth\n"
    )
    assert [asked[1] for asked in shown.platform.asked] == ["GetQuota"]
    changed = trimtab("tenants", "quota", "--turns", "500", "--json", answers=answers)
    assert changed.json["quota"] == {**held, "turns_per_second": 500.0}
