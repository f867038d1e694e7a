"""A run's report, which the dashboard fetches from retrain as it is."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from shared.language.errors import NotFound
from tests.unit.dashboard.twin_calls import TwinCalls, full

Open = Callable[..., httpx.AsyncClient]


async def test_every_run_links_to_its_report(open_page: Open) -> None:
    async with open_page(full()) as page:
        found = (await page.get("/")).text
    for run in ("r1", "r2"):
        assert f'<a href="/runs/{run}/report">its report</a>' in found


async def test_the_report_is_the_page_that_retrain_made(open_page: Open) -> None:
    twin = TwinCalls({"GetReport": {"html": "<!doctype html><p>Yes &amp; ü", "json": "{}"}}, {})
    async with open_page(twin) as page:
        answer = await page.get("/runs/run-1-ab/report")
    assert (answer.status_code, answer.text) == (200, "<!doctype html><p>Yes &amp; ü")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert twin.asked == [("retrain", "GetReport", {"name": "runs/run-1-ab"})]


async def test_there_is_no_report_of_a_run_that_does_not_exist(open_page: Open) -> None:
    def none(_: object) -> dict[str, str]:
        raise NotFound("there is no run 'run-9'")

    async with open_page(TwinCalls({"GetReport": none}, {})) as page:
        answer = await page.get("/runs/run-9/report")
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no run 'run-9'"})
