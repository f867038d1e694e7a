"""A tenant with several policies: the page shows all of them, or one."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from services.dashboard.http_api import FRAGMENTS
from tests.unit.dashboard import twin_calls
from tests.unit.dashboard.test_page import words

Open = Callable[..., httpx.AsyncClient]
NAMES = ("assistant", "support", "support-eu")


async def test_a_tenant_with_one_policy_chooses_nothing(open_page: Open) -> None:
    async with open_page(twin_calls.full()) as page:
        html = (await page.get("/")).text
    assert 'aria-label="Policies"' not in html
    assert "<h3><a" not in html


async def test_all_policies_are_shown_and_each_can_be_chosen(open_page: Open) -> None:
    async with open_page(twin_calls.many()) as page:
        html = (await page.get("/")).text
    assert '<a href="/" aria-current="page">all policies</a>' in html
    for name in NAMES:
        assert f'<a href="/?policy={name}">{name}</a>' in html
        assert f"champion {name}-v0 70% 88%" in words(html)
        assert f"policy {name}; started" in words(html)
    assert 'hx-get="/fragments/serving" ' in html


async def test_one_policy_narrows_every_section_and_stays_chosen(open_page: Open) -> None:
    async with open_page(twin_calls.many()) as page:
        html = (await page.get("/?policy=support")).text
        fragments = {
            name: (await page.get(f"/fragments/{name}?policy=support")).text for name in FRAGMENTS
        }
        loop = (await page.get("/api/loop.json?policy=support")).json()
    assert "<title>Trimtab · local · support</title>" in html
    assert '<a href="/?policy=support" aria-current="page">support</a>' in html
    assert '<a href="/?policy=support-eu">support-eu</a>' in html
    for name, fragment in fragments.items():
        assert f'hx-get="/fragments/{name}?policy=support"' in html
        for other in ("assistant-v", "support-eu-v"):
            assert other not in fragment
    assert "champion support-v0 70%" in words(fragments["serving"])
    assert words(fragments["loop"]).startswith("The loop of all policies")
    assert "dissatisfaction up support-v0" in words(fragments["alarms"])
    assert [one["policy"] for one in loop["rollouts"]] == ["support"]
    assert {one["policy"] for one in loop["runs"]} == {"support"}
    assert [one["model_version"] for one in loop["courses"]] == ["support-v0", "support-v1"]
    assert [one["model_version"] for one in loop["alarms"]] == ["support-v0"]
    assert {one["model_version"] for one in loop["streams"]} == {"support-v0"}
    assert loop["policies"] == list(NAMES)


async def test_a_policy_that_is_not_there_is_named(open_page: Open) -> None:
    async with open_page(twin_calls.many()) as page:
        answer = await page.get("/?policy=sales")
        wrong = await page.get("/fragments/runs?policy=Sales+Team")
    assert (answer.status_code, wrong.status_code) == (200, 400)
    assert "There is no policy sales : it was never created, or was deleted." in words(answer.text)
    assert "policy must be 1 to 40 lower-case letters" in wrong.json()["error"]


@pytest.mark.parametrize("policy", ["", "support"])
async def test_pages_of_one_policy_share_a_look(open_page: Open, policy: str) -> None:
    calls = twin_calls.many()
    async with open_page(calls) as page:
        for name in FRAGMENTS:
            await page.get(f"/fragments/{name}?policy={policy}")
        asked = len(calls.asked)
        await page.get("/?policy=support-eu")
    assert asked == 13 + (1 if policy else 3)  # the rollout of each policy that is shown
    assert len(calls.asked) == asked + 14
