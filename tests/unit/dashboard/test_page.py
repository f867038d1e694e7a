"""The page over peers that are up, empty and down: its values, its fragments, its JSON twin."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.dashboard import codec
from services.dashboard.adapters.json_peers import JsonPeers
from services.dashboard.app import Asked, look
from services.dashboard.http_api import FRAGMENTS
from services.dashboard.settings import DashboardSettings
from tests.unit.dashboard import twin_calls

Open = Callable[..., httpx.AsyncClient]


def words(html: str) -> str:
    """The text of a page, one space between words."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


async def fragment(open_page: Open, calls: Any, name: str) -> str:
    async with open_page(calls) as page:
        answer = await page.get(f"/fragments/{name}")
    assert answer.status_code == 200
    return answer.text


async def test_the_loop_shows_every_stage_with_its_reasons_and_lag(open_page: Open) -> None:
    html = await fragment(open_page, twin_calls.full(), "loop")
    text = words(html)
    assert html.count("<small>up</small>") == 8
    assert "feedback.turns 5,210" in text
    assert "2,100 made · 3,110 abstained" in text
    assert "abstained not a follow up 2,800" in text
    assert "231 made · 2 dropped · 7 waiting" in text
    assert "lag 12" in text
    assert "interaction.logged.v1: 12 waiting" in html
    assert 'aria-label="drift.reward: of 2605 taken, 2605 made' in html


async def test_who_serves_with_both_estimates(open_page: Open) -> None:
    text = words(await fragment(open_page, twin_calls.full(), "serving"))
    assert "champion assistant-v0 70% 88% [81%, 93%] 120 40" in text
    assert "canary assistant-v1 30% 22% [13%, 35%] 54 18" in text
    assert "evidence 13 of the 20 that promote it" in text


async def test_groups_of_a_rollout_stand_beside_it_those_who_lose_first(open_page: Open) -> None:
    html = await fragment(open_page, twin_calls.full(), "serving")
    text = words(html)
    assert "longer &lt;b&gt; worse 80% [80%, 80%] 10% [10%, 10%] 4 / 5" in text
    places = [text.index(name) for name in ("longer", "plan=free", "shorter")]
    assert places == sorted(places)
    assert "conflicts of interest: no_group_worse (the default; nobody chose it)" in text
    assert "It does not promise: a gain is given up" in text


async def test_the_evidence_for_a_promotion_is_of_what_the_policy_asks_for(open_page: Open) -> None:
    text = await fragment(open_page, twin_calls.full(), "serving")
    assert 'canary is not worse <meter min="0" max="1" value="0.7999' in text


async def test_how_the_canary_answers_is_said_as_far_as_anything_is_known(open_page: Open) -> None:
    text = words(await fragment(open_page, twin_calls.full(), "serving"))
    assert "errors: the first answer failed for 2 of 90 users on the canary" in text
    assert "reward: of 40 pairs of users, the canary's has the lower in 4" in text.replace(
        "&#39;", "'"
    )
    assert "latency" not in text


async def test_a_replica_that_is_left_out_is_said_where_it_is_seen_who_serves(
    open_page: Open,
) -> None:
    assert "Not as trained" not in words(await fragment(open_page, twin_calls.full(), "serving"))
    said = {"replica": "http://two", "words": "http://two serves the base model <instead>"}
    rollout = {**twin_calls.ROLLOUT, "left_out": [said]}
    answers = {**twin_calls.FULL, "GetRollout": {"rollout": rollout}}
    peers = twin_calls.TwinCalls(answers, twin_calls.STAGES)
    text = words(await fragment(open_page, peers, "serving"))
    assert "Not as trained: http://two serves the base model &lt;instead&gt;" in text


async def test_a_run_begins_with_whom_it_helped_and_whom_it_hurt(open_page: Open) -> None:
    text = words(await fragment(open_page, twin_calls.full(), "runs"))
    hurt, helped = (text.index(one) for one in ("hurt: people who", "helped: people who"))
    assert text.index("assistant-v1 succeeded") < hurt < helped < text.rindex("started 12:20")
    assert "conflicts of interest: mean (chosen by ada: a trial)" in text


async def test_runs_with_progress_and_each_gate_line(open_page: Open) -> None:
    html = await fragment(open_page, twin_calls.full(), "runs")
    text = words(html)
    assert "r2 train" in text
    assert '<progress max="1" value="0.4"' in html
    assert "step 12 of 30, margin 0.9" in text
    assert "assistant-v1 succeeded gate: passed" in text
    assert "held_out_pair_accuracy 0.81 [0.69, 0.89] 60 (20) low &gt;= 0.5 pass" in text
    assert "over_refusal 0.05 [0.01, 0.4] 60 (20) high &lt;= 0.3 not enough evidence" in text
    assert '<details id="gate-r1" open>' in html


async def test_alarms_and_personas(open_page: Open) -> None:
    text = words(await fragment(open_page, twin_calls.full(), "alarms"))
    assert "12:18:00 dissatisfaction up assistant-v0 9% 100% [72%, 100%]" in text
    assert "2000 conversations or more in the mean" in text
    assert "Conversations: c120, c121" in text
    text = words(await fragment(open_page, twin_calls.full(), "personas"))
    assert "Personas 4 of 31" in text
    assert "user-0 version 2, 12:19:00 Wants answers of at most two sentences" in text


async def test_text_of_users_is_escaped_and_isolated(open_page: Open) -> None:
    said = {"personas": [{"user_id": "u\u202e", "text": "<b>\u202etxt.exe"}]}
    calls = twin_calls.TwinCalls({**twin_calls.FULL, "ListPersonas": said}, twin_calls.STAGES)
    html = await fragment(open_page, calls, "personas")
    assert "<h3><bdi>u\u202e</bdi> <small>" in html
    assert "<p><bdi>&lt;b&gt;\u202etxt.exe</bdi></p>" in html


async def test_the_course_is_there_as_a_table_too(open_page: Open) -> None:
    text = words(await fragment(open_page, twin_calls.full(), "course"))
    assert "12:39:00 assistant-v0 95% [69%, 99%] 12 9" in text
    assert "novelty assistant-v0 watching 214 0.41" in text
    assert "reward assistant-v0 learning 214 -" in text


async def test_the_whole_page_polls_its_fragments(open_page: Open) -> None:
    async with open_page(twin_calls.full()) as page:
        html = (await page.get("/")).text
        script = await page.get("/scripts/htmx.js")
        foreign = await page.get("/scripts/other.js")
    for name in FRAGMENTS:
        assert f'hx-get="/fragments/{name}" hx-trigger="every 2s"' in html
    assert html.count("http-equiv") == 1 and "<noscript><meta" in html
    assert (script.status_code, script.text) == (200, "var script;")
    assert foreign.status_code == 404
    assert "http://" not in html and "https://" not in html


async def test_without_scripts_it_is_tables_that_reload(open_page: Open) -> None:
    async with open_page(twin_calls.full(), scripts=False) as page:
        html = (await page.get("/")).text
    assert '<meta http-equiv="refresh" content="5">' in html
    assert "<script" not in html
    assert '<details id="course-table" open>' in html
    assert "scripts are not built" in html


async def test_all_down_is_said_part_by_part_and_never_a_500(open_page: Open) -> None:
    async with open_page(twin_calls.down()) as page:
        whole = await page.get("/")
        health = await page.get("/healthz")
        twin = (await page.get("/api/loop.json")).json()
    assert (whole.status_code, health.json()) == (200, {"status": "ok"})
    text = words(whole.text)
    for part in twin_calls.STAGES:
        assert f"{part} is not reachable" in text
    assert text.count("starts") >= 8
    assert {one["trouble"] for one in twin["parts"]} == {
        f"{one['name']} is not reachable" for one in twin["parts"]
    }
    assert set(twin["troubles"]) == {"serving", "runs", "alarms", "streams", "course", "personas"}


async def test_an_empty_loop_says_what_comes_next(open_page: Open) -> None:
    async with open_page(twin_calls.empty()) as page:
        text = words((await page.get("/")).text)
    for said in (
        "No version is registered yet.",
        "No follow-up was judged in the time window.",
        "No runs yet.",
        "No alarms.",
        "No personas yet",
    ):
        assert said in text
    assert "not reachable" not in text


async def test_the_json_twin_holds_the_same_figures(open_page: Open) -> None:
    async with open_page(twin_calls.full()) as page:
        loop = (await page.get("/api/loop.json")).json()
    feedback = next(one for one in loop["parts"] if one["name"] == "feedback")
    explicit, turns = feedback["stages"]
    assert (explicit["taken"], explicit["made"], explicit["waiting"]) == (240, 231, 7)
    assert (turns["name"], turns["taken"], turns["abstained"]) == ("feedback.turns", 5210, 3110)
    assert [one["share"] for one in loop["rollouts"][0]["versions"]] == pytest.approx([0.7, 0.3])
    assert [one["model_version"] for one in loop["courses"]] == ["assistant-v0", "assistant-v1"]
    assert loop["courses"][1]["points"][0]["count"] == 12
    assert loop["runs"][1]["gate"][1]["figure"]["low"] == 0.52


async def test_open_pages_share_one_look_and_ask_only_for_the_window(open_page: Open) -> None:
    calls = twin_calls.full()
    async with open_page(calls) as page:
        for name in FRAGMENTS:
            await page.get(f"/fragments/{name}")
    assert len(calls.asked) == 14  # seven services' counts and seven lists, once
    buckets = next(request for _, method, request in calls.asked if method == "ListBuckets")
    assert buckets == {"stream": "dissatisfaction", "start_time": "2026-11-20T09:40:00Z"}


def test_a_groups_stream_is_not_taken_for_everyones() -> None:
    everyones, groups = (
        {**twin_calls.STREAMS[0], "group": ""},
        {**twin_calls.STREAMS[0], "group": "longer"},
    )
    assert codec.stream(everyones).stream == "dissatisfaction"
    assert codec.stream(groups).stream == "dissatisfaction of longer"
    alarm = {**twin_calls.ALARM, "group": "longer"}
    assert codec.alarm(alarm).stream == "dissatisfaction of longer"


async def test_an_unknown_fragment_is_named(open_page: Open) -> None:
    async with open_page(twin_calls.full()) as page:
        answer = await page.get("/fragments/mood")
    assert answer.status_code == 404
    assert "loop, serving" in answer.json()["error"]


async def test_slow_services_keep_their_last_figures_and_say_so() -> None:
    calls, now = twin_calls.full(), datetime(2026, 11, 20, 12, 40, tzinfo=UTC)
    peers = JsonPeers(calls)
    first = await look(peers, Asked("local"), now)
    calls.slow = True
    later = await look(peers, Asked("local"), now, first)
    assert [(one.state, one.stages) for one in later.parts if one.name != "gateway"] == [
        ("slow", one.stages) for one in first.parts if one.name != "gateway"
    ]
    assert later.parts[2].trouble == "feedback did not answer within 2 s"
    assert (later.runs, later.courses, later.rollouts) == (
        first.runs,
        first.courses,
        first.rollouts,
    )
    assert later.troubles["runs"] == "retrain did not answer within 2 s"


def test_scripts_lie_below_the_built_parts_unless_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_PARTS", str(tmp_path))
    assert DashboardSettings().scripts == tmp_path / "node" / "node_modules"
    monkeypatch.setenv("TRIMTAB_DASHBOARD_NODE_MODULES", "elsewhere")
    assert DashboardSettings().scripts == Path("elsewhere")
