import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.adapters.metrics import RecorderCollector
from services.gateway.adapters.rollouts import RolloutFile
from services.gateway.adapters.spool import FileSpool
from services.gateway.domain.rollout import Rollout, Version
from shared.contracts.turns import decode_turn
from shared.language.errors import FailedPrecondition, ResourceExhausted
from shared.language.messages import text_message
from shared.language.turns import Turn


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


async def test_what_is_spooled_outlives_the_process(
    start_gateway: Callable[..., Any], tmp_path: Path
) -> None:
    async with start_gateway(tmp_path) as gateway:
        gateway.sink.away = True
        gateway.recorder.record([turn(index) for index in range(10)])
    with (tmp_path / "00000001.jsonl").open("ab") as file:
        file.write(b'{"tenant": "local", "tu')  # killed in the middle of a line
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
    gateway.spool._max_bytes = 2_000
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


def drained(spool: FileSpool) -> list[int]:
    indexes = []
    while (batch := spool.head()).records:
        indexes += [one.turn.index for one in batch.turns]
        spool.advance(batch)
    return indexes


def test_segments_roll_are_read_in_order_and_deleted(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, segment_bytes=1_000, batch_turns=7)
    for index in range(100):
        spool.append([turn(index)])
    assert len(list(tmp_path.glob("*.jsonl"))) > 5
    assert drained(spool) == list(range(100))
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    assert spool.pending == 0
    spool.append([turn(100)])
    spool.close()
    again = FileSpool(tmp_path, segment_bytes=1_000)
    assert (again.pending, drained(again)) == (1, [100])
    assert [path.stat().st_size for path in tmp_path.glob("*.jsonl")] == [0]
    again.append([turn(101)])
    again.close()
    third = FileSpool(tmp_path)
    assert drained(third) == [101]
    third.close()


def test_a_restart_in_the_middle_of_the_segments(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, segment_bytes=1_000, batch_turns=7)
    for index in range(50):
        spool.append([turn(index)])
    for _ in range(4):
        spool.advance(spool.head())
    left = spool.pending
    spool.close()
    again = FileSpool(tmp_path, segment_bytes=1_000)
    assert again.pending == left
    assert drained(again) == list(range(50 - left, 50))
    again.close()


def test_an_unreadable_line_is_counted_and_passed_over(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    spool.append([turn(0)])
    spool._out.write(b'{"turn": "AAAA"}\nno json\n')
    spool._out.flush()
    spool.append([turn(1)])
    batch = spool.head()
    assert ([one.turn.index for one in batch.turns], batch.records, batch.unreadable) == (
        [0, 1],
        4,
        2,
    )
    spool.close()


def test_the_spool_is_bounded_and_of_one_process(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, max_bytes=1_000)
    with pytest.raises(FailedPrecondition):
        FileSpool(tmp_path)
    with pytest.raises(ResourceExhausted):
        spool.append([turn(0, "x" * 1_000)])
    assert spool.pending == 0
    spool.close()


def test_turns_come_back_from_the_spool_as_they_were(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    said = replace(turn(3), model_version="v1", completion_id="c", metadata={"a": "ä"})
    spool.append([said])
    (kept,) = spool.head().turns
    assert (kept.tenant, decode_turn(kept.turn)) == ("local", said)
    spool.close()


def test_the_last_rollout_is_kept(tmp_path: Path) -> None:
    file = RolloutFile(tmp_path / "gateway" / "rollout.json")
    assert file.load() is None
    versions = [Version(f"assistant-v{n}", f"assistant-v{n}") for n in range(3)]
    rollout = Rollout(7, versions[0], versions[1], 0.25, (versions[2],))
    file.save(rollout)
    assert file.load() == rollout
    (tmp_path / "gateway" / "rollout.json").write_text("{}")
    assert file.load() is None
