import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.adapters.metrics import RecorderCollector
from services.gateway.adapters.spool import FileSpool
from services.gateway.app.recorder import Recorder
from services.gateway.codec.spool import encode_frame
from shared.language.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TrimtabError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from shared.language.messages import text_message
from shared.language.turns import Turn
from tests.unit.gateway.conftest import MemorySink


def turn(index: int, text: str = "") -> Turn:
    message = text_message("user", text or f"say {index}")
    return Turn("local", "c", index, message, "ada", channel="openai")


async def test_away_spools_and_back_forwards_in_order(gateway: Any, eventually: Any) -> None:
    gateway.recorder.record([turn(0)])
    await eventually(lambda: gateway.recorder.pending == 0)
    gateway.sink.away = True
    for index in range(1, 1200):
        gateway.recorder.record([turn(index)])
        if index == 600:
            await eventually(lambda: bool(gateway.recorder.away))
    status = gateway.recorder.status()
    assert (status["pending"], status["spooled"], status["forwarded"]) == (1199, 1199, 1)
    answer = (await gateway.http.get("/v1/status")).json()["log"]
    assert (answer["pending"], answer["away"]) == (1199, "interaction is away")
    gateway.sink.away = False
    await eventually(lambda: gateway.recorder.pending == 0)
    assert [logged.index for logged in gateway.sink.turns] == list(range(1200))
    assert gateway.recorder.status()["forwarded"] == 1200
    assert gateway.recorder.status()["away"] == ""


async def test_the_chat_goes_on_while_interaction_is_away(gateway: Any, eventually: Any) -> None:
    gateway.sink.away = True
    hello = [{"role": "user", "content": "Hello"}]
    for n in range(3):
        await gateway.openai.chat.completions.create(
            model="assistant", messages=hello, user=f"u{n}"
        )
    assert gateway.recorder.pending == 6
    gateway.sink.away = False
    await eventually(lambda: len(gateway.sink.turns) == 6)


def torn(folder: Path) -> None:
    """Killed in the middle of a write."""
    (segment,) = folder.glob("tenant=local/*.turns")
    with segment.open("ab") as file:
        file.write(encode_frame(turn(99))[:-3])


async def test_what_is_spooled_outlives_the_process(
    start_gateway: Callable[..., Any], tmp_path: Path
) -> None:
    async with start_gateway(tmp_path) as gateway:
        gateway.sink.away = True
        gateway.recorder.record([turn(index) for index in range(10)])
    torn(tmp_path)
    async with start_gateway(tmp_path) as gateway:
        assert gateway.recorder.pending == 10
        gateway.recorder.record([turn(10)])
        assert [logged.index for logged in await gateway.logged()] == list(range(11))
    async with start_gateway(tmp_path) as gateway:
        assert await gateway.logged() == []


async def test_refused_turns_do_not_block_those_behind_them(gateway: Any) -> None:
    gateway.recorder.record([turn(0), turn(1, "refuse me"), turn(2)])
    assert [logged.index for logged in await gateway.logged()] == [0, 2]
    assert gateway.recorder.status()["refused"] == {"MESSAGE_TOO_LARGE": 1}


async def test_a_full_spool_drops_counts_and_alarms(
    gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    registry.register(RecorderCollector(gateway.recorder))
    gateway.sink.away = True
    gateway.spool._max_bytes = 2_500
    for index in range(20):
        gateway.recorder.record([turn(index)])
    status = gateway.recorder.status()
    lost = {"outcome": "dropped", "reason": "SPOOL_FULL"}
    assert status["dropping"] == "SPOOL_FULL"
    assert registry.get_sample_value("trimtab_gateway_dropping") == 1
    assert registry.get_sample_value("trimtab_gateway_turns_total", lost) == 20 - status["pending"]
    assert [one.levelname for one in caplog.records].count("ERROR") == 1
    assert status["dropped"] == {"SPOOL_FULL": 20 - status["pending"]}
    assert 0 < status["pending"] < 20
    gateway.sink.away = False
    await asyncio.wait_for(gateway.recorder._settled.wait(), 5)
    assert registry.get_sample_value("trimtab_gateway_dropping") == 0


REFUSALS = [
    Unauthenticated("this token is not known", reason="INVALID_TOKEN"),
    PermissionDenied("not for you"),
    Unimplemented("LogTurns is not served here"),
    NotFound("no such tenant"),
    FailedPrecondition("not yet"),
    AlreadyExists("there is one"),
    Internal("a defect"),
    ResourceExhausted("later", retry_after_s=0.1),
    DeadlineExceeded("too slow"),
    Unavailable("the certificate has expired"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: type(one).__name__)
async def test_whatever_refuses_a_call_loses_no_turn(
    gateway: Any, eventually: Any, refusal: TrimtabError
) -> None:
    gateway.sink.fails = {"local": refusal}
    gateway.recorder.record([turn(index) for index in range(5)])
    await eventually(lambda: "local" in gateway.recorder.waits)
    status = gateway.recorder.status()
    assert (status["pending"], status["refused"], status["dropped"]) == (5, {}, {})
    assert status["away"] == refusal.message
    gateway.sink.fails = {}
    await eventually(lambda: gateway.recorder.pending == 0)
    assert [one.index for one in gateway.sink.turns] == list(range(5))
    assert gateway.recorder.status()["away"] == ""


async def test_refused_credentials_are_an_alarm_until_they_are_mended(
    gateway: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    registry.register(RecorderCollector(gateway.recorder))
    blocked = ("trimtab_gateway_blocked_tenants", {"reason": "INVALID_TOKEN"})
    gateway.sink.fails = {"local": REFUSALS[0]}
    gateway.recorder.record([turn(0)])
    await eventually(lambda: "local" in gateway.recorder.waits)
    assert registry.get_sample_value(*blocked) == 1
    assert registry.get_sample_value("trimtab_gateway_waiting_tenants") == 1
    assert any("INVALID_TOKEN" in one.message for one in caplog.records if one.levelno >= 40)
    health = (await gateway.http.get("/healthz")).json()
    assert health == {
        "status": "ok",
        "logging": "1 turns wait in the spool: this token is not known",
    }
    assert (await gateway.http.get("/v1/status")).json()["log"]["blocked"] == {"INVALID_TOKEN": 1}
    gateway.sink.fails = {}
    await eventually(lambda: gateway.recorder.pending == 0)
    assert registry.get_sample_value(*blocked) is None
    assert (await gateway.http.get("/healthz")).json()["logging"] == "ok"


async def test_an_invalid_call_is_halved_until_the_turn_stands_alone(gateway: Any) -> None:
    said = [turn(index, "spoil it" if index in (3, 8) else "") for index in range(10)]
    gateway.recorder.record(said)
    assert [one.index for one in await gateway.logged()] == [0, 1, 2, 4, 5, 6, 7, 9]
    status = gateway.recorder.status()
    assert (status["refused"], status["forwarded"]) == ({"UNDECODABLE": 2}, 8)


async def test_a_tenant_whose_lane_is_refused_holds_up_no_other(
    gateway: Any, eventually: Any
) -> None:
    full = ResourceExhausted("the lane is full", reason="INTAKE_FULL", retry_after_s=1.0)
    gateway.sink.fails = {"flood": full}
    for index in range(50):
        gateway.recorder.record([replace(turn(index), tenant="flood")])
        gateway.recorder.record([turn(index)])
    await eventually(lambda: len(gateway.sink.turns) == 50)
    assert [(one.tenant, one.index) for one in gateway.sink.turns] == [
        ("local", index) for index in range(50)
    ]
    assert gateway.recorder.pending == 50
    waiting = (await gateway.http.get("/v1/conversations/c/waiting")).json()["steps"]
    assert waiting == []
    gateway.sink.fails = {}
    await eventually(lambda: gateway.recorder.pending == 0, 10)
    flooded = [one.index for one in gateway.sink.turns if one.tenant == "flood"]
    assert flooded == list(range(50))


async def test_a_tenant_that_hangs_leaves_calls_for_the_others(
    gateway: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, forward = asyncio.Event(), gateway.sink.forward

    async def hangs(tenant: str, turns: Any) -> Any:
        if tenant == "slow":
            await go_on.wait()
        return await forward(tenant, turns)

    monkeypatch.setattr(gateway.sink, "forward", hangs)
    gateway.recorder.record([replace(turn(0), tenant="slow")])
    gateway.recorder.record([turn(0)])
    await eventually(lambda: len(gateway.sink.turns) == 1)
    assert gateway.sink.turns[0].tenant == "local"
    go_on.set()
    await eventually(lambda: gateway.recorder.pending == 0)


async def test_a_full_disk_ends_neither_the_chats_nor_the_forwarding(
    gateway: Any, eventually: Any
) -> None:
    hello = [{"role": "user", "content": "Hello"}]

    async def chat(user: str) -> None:
        await gateway.openai.chat.completions.create(model="assistant", messages=hello, user=user)

    gateway.sink.away = True
    await chat("u1")
    gateway.disk.fails = {"open", "write", "replace", "remove"}
    await chat("u2")
    status = gateway.recorder.status()
    assert (status["dropped"], status["dropping"]) == ({"SPOOL_DISK": 2}, "SPOOL_DISK")
    gateway.sink.away = False
    await eventually(lambda: len(gateway.sink.turns) == 2)
    assert not gateway.task.done()
    gateway.disk.fails = set()
    await chat("u3")
    await eventually(lambda: len(gateway.sink.turns) == 4)
    assert gateway.recorder.status()["dropping"] == ""
    assert gateway.recorder.pending == 0


def test_turns_wait_no_longer_than_their_tenant_keeps_them(tmp_path: Path) -> None:
    """For months, while interaction is away: the files stay as small."""
    now, sink = time.time(), MemorySink()
    sink.away = True
    spool = FileSpool(tmp_path, segment_bytes=500)
    days = {"local": 7.0, "other": 2.0}
    recorder = Recorder(spool, sink, keep_days=days.__getitem__, clock=lambda: now)
    sizes, dropped = [], []
    for day in range(60):
        now += 86_400
        for tenant in days:
            recorder.record([replace(turn(day), tenant=tenant)])
            newest = max((tmp_path / f"tenant={tenant}").glob("*.turns"))
            os.utime(newest, (now, now))
        recorder._forget_aged()
        sizes.append(sum(one.stat().st_size for one in tmp_path.rglob("*.turns")))
        dropped.append(recorder.counts.dropped["SPOOL_AGE"])
    assert max(sizes[20:]) <= max(sizes[10:20])
    assert spool.pending_of("local") <= 7 + 4 and spool.pending_of("other") <= 2 + 4
    assert dropped[-1] + spool.pending == 120
    spool.close()


async def test_a_stop_is_heard_at_whatever_moment_turns_come(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    recorder = Recorder(spool, MemorySink())
    for steps in range(6):
        task = asyncio.create_task(recorder.run())
        await asyncio.sleep(0.01)
        recorder._wake.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=10)
        assert done == {task}, f"it goes on after {steps} steps"
    spool.close()
