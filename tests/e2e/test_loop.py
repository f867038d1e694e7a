"""A small loop closed on the real parts: greedy users, fixed wordings, a few steps of training."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from infra.demo.report import mined_rate
from infra.demo.users import VERSION
from shared.gen.trimtab.retrain.v1 import retrain_pb2
from tests.e2e.small_loop import SETTINGS, VERDICTS, Played, play
from tests.e2e.world import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_world(tmp_path_factory.mktemp("loop"), SETTINGS)
    try:
        made.stack.up()
        yield made
    finally:
        made.stack.discard()


@pytest.fixture(scope="module")
def played(world: World) -> Played:
    """The act once for all tests: what it saw, what the services counted, what was mined."""
    return asyncio.run(_play(world))


async def _play(world: World) -> Played:
    clients = world.clients()
    try:
        return await play(clients, world.stage(clients, "small"))
    finally:
        await clients.close()


pytestmark = pytest.mark.timeout(2400)


def test_an_alarm_starts_a_run_that_comes_to_a_verdict(played: Played) -> None:
    act = played.act
    assert act.alarm is not None, act.problem
    assert act.alarm.log_e >= act.alarm.log_threshold
    assert played.trigger == retrain_pb2.TRIGGER_KIND_DRIFT
    assert act.run is not None
    assert act.run.snapshot.train_pairs >= 4
    assert act.verdict in VERDICTS, act.problem


def test_the_verdict_follows_from_the_figures(played: Played) -> None:
    act = played.act
    assert act.run is not None, act.problem
    passed = all(line.verdict == "pass" for line in act.run.gate if line.rule)
    if act.verdict == "rejected by the gate":
        assert not passed
        assert act.champion == act.first_champion
        return
    assert act.run.verdict == "passed"
    assert act.evidence
    promoted = act.champion == act.run.model_version
    assert promoted is (act.verdict == "promoted")


def test_users_noticed_nothing_but_the_answers(played: Played) -> None:
    assert played.act.book.failures == []
    assert played.unknown_versions == set()


def test_dissatisfaction_rose_with_the_shift(played: Played) -> None:
    act, mined = played.act, played.mined
    calm = {name for name, phase in act.book.conversations.items() if phase == "calm"}
    before = mined_rate(one for one in mined if one.conversation_id in calm)
    after = mined_rate(one for one in mined if one.conversation_id not in calm)
    assert before.value < 0.3
    assert after.value > before.value + 0.2


def test_counts_add_up_from_stage_to_stage(played: Played) -> None:
    assert played.wrong_counts == []


def test_any_two_versions_are_compared_on_the_replicas_that_serve(
    world: World, played: Played
) -> None:
    act = played.act
    assert act.run is not None, act.problem
    version = act.run.model_version
    line = ("models", "compare", version, act.first_champion)
    if act.verdict == "rejected by the gate":  # it is withdrawn
        refused = world.trimtab(*line)
        assert f"trimtab models restore {version}" in json.dumps(refused)
        why = ("--override-gate", "--reason", "to compare it")
        world.trimtab("models", "restore", version, *why)
    found = world.trimtab(*line, timeout_s=600)
    assert (found["model_version"], found["champion_version"]) == (version, act.first_champion)
    figures = {one["name"]: one for one in found["estimates"] if not one.get("group")}
    assert {"win_rate", "length_words", f"length_words@{act.first_champion}"} <= set(figures)
    rate = figures["win_rate"]
    assert rate["low"] <= rate["value"] <= rate["high"] and int(rate["count"]) == 16


def test_the_openai_client_works_unchanged(world: World, played: Played) -> None:
    client = OpenAI(base_url=f"{world.gateway_url}/v1", api_key=world.key, max_retries=0)
    assert "assistant" in {model.id for model in client.models.list()}
    asked: Any = [{"role": "user", "content": "Name three colours."}]
    raw = client.chat.completions.with_raw_response.create(
        model="assistant",
        messages=asked,
        max_tokens=12,
        user="openai-user",
    )
    whole = raw.parse()
    assert whole.choices[0].message.content
    assert raw.headers[VERSION].startswith("assistant-v")
    chunks: Any = client.chat.completions.create(
        model="assistant",
        messages=asked,
        max_tokens=12,
        user="openai-user",
        stream=True,
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text
