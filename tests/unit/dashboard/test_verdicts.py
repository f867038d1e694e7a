"""What became of a version's rollout, for tools that move models by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.unit.dashboard.twin_calls import TwinCalls

Open = Callable[..., httpx.AsyncClient]
NOT_FOUND = 404


def calls(*states: str) -> TwinCalls:
    changes = [
        {"state": f"VERSION_STATE_{one}", "reason": f"{one.lower()} by ann"} for one in states
    ]
    version = {
        "version": "support-v3",
        "policy": "support",
        "state": changes[-1]["state"],
        "changes": changes,
    }
    rollout = {"words": "support-v3 is a canary, waiting for evidence", "policy": "support"}
    answers: dict[str, Any] = {
        "GetVersion": {"version": version},
        "GetRollout": {"rollout": rollout},
    }
    return TwinCalls(answers, {})


@pytest.mark.parametrize(
    ("states", "verdict", "words"),
    [
        (("VERIFIED",), "not_begun", "verified by ann"),
        (("VERIFIED", "CANARY"), "under_way", "support-v3 is a canary, waiting for evidence"),
        (("CANARY", "CHAMPION"), "promoted", "champion by ann"),
        (("CANARY", "CHAMPION", "RETIRED"), "promoted", "retired by ann"),
        (("CANARY", "ROLLED_BACK"), "rolled_back", "rolled_back by ann"),
        (("CANARY", "ROLLED_BACK", "RETIRED"), "rolled_back", "retired by ann"),
        (("VERIFIED", "REJECTED"), "rolled_back", "rejected by ann"),
        (("VERIFIED", "RETIRED"), "not_begun", "retired by ann"),
    ],
)
async def test_the_verdict_of_a_version(
    open_page: Open, states: tuple[str, ...], verdict: str, words: str
) -> None:
    twin = calls(*states)
    async with open_page(twin) as page:
        answer = await page.get("/api/versions/support-v3/verdict")
        told = answer.json()
        so = {
            name: (await page.post(f"/api/versions/support-v3/is/{name}")).status_code
            for name in ("promoted", "rolled_back")
        }
    assert told == {"version": "support-v3", "verdict": verdict, "words": words}
    assert so == {name: 200 if name == verdict else 412 for name in so}
    assert twin.asked[:2] == [
        ("registry", "GetVersion", {"name": "modelVersions/support-v3"}),
        ("registry", "GetRollout", {"policy": "support"}),
    ]


async def test_what_cannot_be_told_is_no_verdict(open_page: Open) -> None:
    async with open_page(TwinCalls({}, {}, down=True)) as page:
        for path in ("verdict", "is/promoted", "is/rolled_back"):
            away = await page.get(f"/api/versions/support-v3/{path}")
            assert (away.status_code, away.json()) == (503, {"error": "registry is not reachable"})
        wrong = await page.get("/api/versions/support-v3/is/fine")
    assert wrong.status_code == NOT_FOUND
    assert "choose from: not_begun, under_way, promoted, rolled_back" in wrong.json()["error"]
