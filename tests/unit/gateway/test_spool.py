"""The spool's files: in order within a tenant, bounded, over restarts, kills, damage and full disks."""

import json
import os
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest

from services.gateway.adapters.spool import FileSpool
from services.gateway.codec.spool import decode_body
from shared.contracts.turns import encode_turn
from shared.language.errors import (
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from shared.language.messages import text_message
from shared.language.turns import Turn
from tests.unit.gateway.disk import FullDisk


def turn(index: int, text: str = "", tenant: str = "local") -> Turn:
    message = text_message("user", text or f"say {index}")
    return Turn(tenant, "c", index, message, "ada", channel="openai")


def indexes(bodies: list[bytes]) -> list[int]:
    return [found.index for body in bodies if (found := decode_body(body)) is not None]


def drained(spool: FileSpool, tenant: str = "local") -> list[int]:
    found = []
    while (batch := spool.head(tenant)).records:
        found += indexes(batch.turns)
        spool.advance(tenant)
    return found


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.turns"))


def test_segments_roll_are_read_in_order_and_removed(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, segment_bytes=1_000, batch_turns=7)
    for index in range(100):
        spool.append([turn(index)])
    assert len(files(tmp_path)) == 5
    assert drained(spool) == list(range(100))
    assert (files(tmp_path), spool.pending, spool.tenants()) == ([], 0, [])
    spool.append([turn(100)])
    spool.close()
    again = FileSpool(tmp_path, segment_bytes=1_000)
    assert (again.pending, drained(again)) == (1, [100])
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
        spool.head("local")
        spool.advance("local")
    left = spool.pending
    spool.close()
    again = FileSpool(tmp_path, segment_bytes=1_000)
    assert again.pending == left
    assert drained(again) == list(range(50 - left, 50))
    again.close()


def test_damage_is_counted_and_passed_over(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    for index in range(4):
        spool.append([turn(index, "x" * 100)])
    (segment,) = files(tmp_path)
    content = bytearray(segment.read_bytes())
    size = len(content) // 4
    content[size + 60] ^= 0xFF  # within the second turn
    # The third one's length: one stretch with the second.
    content[2 * size + 2 : 2 * size + 6] = b"\xff\xff\xff\x7f"
    segment.write_bytes(content)
    batch = spool.head("local")
    assert (indexes(batch.turns), batch.records, batch.unreadable) == ([0, 3], 3, 1)
    spool.advance("local")
    assert spool.pending == 0
    spool.close()


def test_a_turn_larger_than_a_batch_is_read(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, batch_bytes=1_000)
    spool.append([turn(0, "x" * 10_000)])
    spool.append([turn(1)])
    assert drained(spool) == [0, 1]
    with pytest.raises(InvalidArgument, match="8388608 bytes"):
        spool.append([turn(2, "x" * 9_000_000)])
    spool.close()


def test_the_spool_is_bounded_and_of_one_process(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, max_bytes=1_000)
    with pytest.raises(FailedPrecondition):
        FileSpool(tmp_path)
    with pytest.raises(ResourceExhausted):
        spool.append([turn(0, "x" * 1_000)])
    assert spool.pending == 0
    spool.close()


def test_a_tenant_that_floods_leaves_room_for_who_comes_next(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, max_bytes=100_000)

    def flood(tenant: str) -> int:
        for count in range(10_000):
            try:
                spool.append([turn(count, tenant=tenant)])
            except ResourceExhausted:
                return spool._tenants[tenant].bytes
        return -1

    # Four fifths, then four fifths of what is left.
    assert flood("a-tenant") == pytest.approx(80_000, rel=0.01)
    assert flood("b-tenant") == pytest.approx(16_000, rel=0.02)
    drained(spool, "a-tenant")
    assert flood("b-tenant") == pytest.approx(80_000, rel=0.01)
    spool.close()


def test_turns_come_back_from_the_spool_as_they_were(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    said = replace(turn(3), model_version="v1", completion_id="c", metadata={"a": "ä"})
    spool.append([said])
    (kept,) = spool.head("local").turns
    assert decode_body(kept) == said
    assert spool.waiting("local", "c") == [said]
    assert spool.waiting("other", "c") == spool.waiting("local", "d") == []
    spool.close()


def test_a_tenant_named_like_a_folder_stays_in_the_spool(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path / "spool")
    spool.append([turn(0, tenant="..")])
    assert files(tmp_path) == [tmp_path / "spool" / "tenant=.." / "00000001.turns"]
    spool.close()


@pytest.mark.parametrize("operation", ["write", "open"])
def test_a_full_disk_refuses_what_is_appended_and_keeps_the_rest(
    tmp_path: Path, operation: str
) -> None:
    disk = FullDisk()
    spool = FileSpool(tmp_path, disk=disk)
    if operation == "write":
        spool.append([turn(0)])
    disk.fails = {operation}
    with pytest.raises(Unavailable) as failed:
        spool.append([turn(1), turn(2)])
    assert failed.value.reason == "SPOOL_DISK"
    disk.fails = set()
    spool.append([turn(3)])
    assert drained(spool) == ([0, 3] if operation == "write" else [3])
    spool.close()


def test_a_full_disk_at_the_change_of_segments_goes_on_in_the_old_one(tmp_path: Path) -> None:
    disk = FullDisk()
    spool = FileSpool(tmp_path, segment_bytes=200, disk=disk)
    for index in range(4):
        spool.append([turn(index)])
    before = len(files(tmp_path))
    disk.fails = {"open"}
    for index in range(4, 10):
        spool.append([turn(index)])
    assert len(files(tmp_path)) == before
    disk.fails = set()
    spool.append([turn(10)])
    assert len(files(tmp_path)) == before + 1
    assert drained(spool) == list(range(11))
    spool.close()


def test_positions_that_cannot_be_noted_are_kept_in_memory(tmp_path: Path) -> None:
    disk = FullDisk()
    spool = FileSpool(tmp_path, batch_turns=2, disk=disk)
    for index in range(6):
        spool.append([turn(index)])
    assert indexes(spool.head("local").turns) == [0, 1]
    disk.fails = {"replace"}
    with pytest.raises(Unavailable) as failed:
        spool.advance("local")
    assert (failed.value.reason, spool.pending) == ("SPOOL_DISK", 4)
    assert indexes(spool.head("local").turns) == [2, 3]
    spool.close()
    # Nobody knows of it after a kill: those turns are sent again.
    again = FileSpool(tmp_path)
    assert drained(again) == list(range(6))
    again.close()


def test_what_cannot_be_removed_is_removed_later_and_nothing_is_passed_over(
    tmp_path: Path,
) -> None:
    disk = FullDisk()
    spool = FileSpool(tmp_path, disk=disk)
    spool.append([turn(0)])
    spool.head("local")
    disk.fails = {"remove", "replace"}
    with pytest.raises(Unavailable):
        spool.advance("local")
    assert (spool.pending, len(files(tmp_path))) == (0, 1)
    spool.append([turn(1)])
    assert indexes(spool.head("local").turns) == [1]
    disk.fails = set()
    spool.advance("local")
    assert files(tmp_path) == []
    spool.append([turn(2)])
    spool.close()
    again = FileSpool(tmp_path)
    assert drained(again) == [2]
    again.close()


def test_what_waited_for_too_long_is_forgotten_by_tenant(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, segment_bytes=100)
    for index in range(10):
        spool.append([turn(index)])
    spool.append([turn(0, tenant="other")])
    for path in files(tmp_path):
        os.utime(path, (0, 0))
    spool.append([turn(10)])  # into the last file
    *old, current, others = files(tmp_path)
    assert "tenant=other" in str(others) and len(old) > 3
    dropped = spool.drop_older("local", time.time() - 60)
    assert files(tmp_path) == [current, others]
    assert (dropped + spool.pending_of("local"), spool.pending_of("other")) == (11, 1)
    assert drained(spool) == list(range(dropped, 11))
    assert spool.drop_older("other", time.time() - 60) == 1
    assert (spool.pending, files(tmp_path)) == (0, [])
    spool.append([turn(11, tenant="other")])
    assert drained(spool, "other") == [11]
    spool.close()


def old_line(said: Turn) -> bytes:
    """As 0.1.0 wrote them."""
    body = b64encode(encode_turn(said).SerializeToString()).decode()
    named = {"tenant": said.tenant, "conversation": said.conversation_id, "index": said.index}
    return json.dumps({**named, "turn": body}).encode() + b"\n"


def test_the_queue_of_an_older_version_is_read_once(tmp_path: Path) -> None:
    lines = [old_line(turn(index, tenant="ab"[index % 2])) for index in range(6)]
    (tmp_path / "00000001.jsonl").write_bytes(old_line(turn(99)))
    (tmp_path / "00000002.jsonl").write_bytes(b"".join(lines[:4]))
    (tmp_path / "00000003.jsonl").write_bytes(b"".join(lines[4:]) + b'{"tenant": "a", "tu')
    position = {"segment": 2, "offset": len(lines[0])}
    (tmp_path / "position").write_text(json.dumps(position))
    spool = FileSpool(tmp_path)
    assert (drained(spool, "a"), drained(spool, "b")) == ([2, 4], [1, 3, 5])
    assert not list(tmp_path.glob("*.jsonl"))
    spool.close()
    again = FileSpool(tmp_path)
    assert again.pending == 0
    again.close()


def test_a_queue_that_cannot_be_taken_over_stays(tmp_path: Path) -> None:
    (tmp_path / "00000001.jsonl").write_bytes(old_line(turn(0)) + old_line(turn(1)))
    disk = FullDisk()
    disk.fails = {"write"}
    FileSpool(tmp_path, disk=disk).close()
    spool = FileSpool(tmp_path)
    assert drained(spool) == [0, 1]
    spool.close()
