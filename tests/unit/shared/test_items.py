"""Items of a batch one by one, and JSON that was cut in the middle of an emoji."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from shared.language import json_text
from shared.language.attempts import attempted, attempted_each, defects
from shared.language.errors import InvalidArgument, TrimtabError, Unavailable
from shared.language.json_text import TOO_DEEP, tidied

DEEP = b"[" * 2000 + b"]" * 2000


def test_what_breaks_one_item_leaves_the_others() -> None:
    def work(item: Any) -> float:
        if item == "bad":
            raise InvalidArgument("no", reason="BAD", field="f")
        return 1 / item

    found = attempted_each(work, [2, "bad", 0, "text", 4])
    said = [(o.reason, o.field) if isinstance(o, TrimtabError) else o for o in found]
    assert said == [0.5, ("BAD", "f"), ("INVALID_RECORD", ""), ("INVALID_RECORD", ""), 0.25]


def test_a_defect_is_counted_and_logged_once_without_what_was_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work(item: str) -> float:
        return float(item)

    defects.clear()
    with caplog.at_level(logging.ERROR):
        attempted_each(work, ["secret", "secret"])
    assert [(name, count) for (name, *_), count in defects.items()] == [("ValueError", 2)]
    (record,) = caplog.records
    assert "raised ValueError" in record.getMessage()
    assert "return float(item)" in record.getMessage()
    assert "secret" not in record.getMessage()


def test_endless_recursion_is_the_items_fault_and_no_defect() -> None:
    def work(item: int) -> int:
        return work(item)

    defects.clear()
    found = attempted(work, 1)
    assert isinstance(found, InvalidArgument)
    assert (found.reason, found.message) == ("INVALID_RECORD", "the item is nested too deeply")
    assert not defects


def test_what_ends_the_whole_call_is_no_refusal() -> None:
    def work(item: int) -> int:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        attempted(work, 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (rb'"cut \ud83d"', "cut \ufffd"),
        (rb'"\uD83D and on"', "\ufffd and on"),
        (rb'"\ude00"', "\ufffd"),
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        (rb'"\\ud83d is an escape \ud83d"', "\\ud83d is an escape \ufffd"),
        (rb'{"\ud83d": ["\udc00"]}', {"\ufffd": ["\ufffd"]}),
    ],
)
def test_half_an_emoji_is_a_replacement_character(text: bytes, found: object) -> None:
    assert json_text.decode(text) == found
    assert json_text.decode_batch(text, 3) == found


def test_a_pair_split_over_two_pieces_stays_a_pair() -> None:
    first, second = rb'{"a":"x\ud83d"}', rb'{"a":"\ude00y\ud83d"}'
    pieces = [json_text.decode_piece(piece) for piece in (first, second)]
    assert tidied("".join(piece["a"] for piece in pieces)) == "x😀y\ufffd"
    # What is passed on is what came.
    assert [json_text.encode(piece) for piece in pieces] == [first, second]


@pytest.mark.parametrize("text", [rb'"\ud83d', rb'"\ud83d" x', b'"\xff"', b"NaN", b"{"])
def test_what_is_no_json_stays_an_error(text: bytes) -> None:
    for read in (json_text.decode, json_text.decode_piece):
        with pytest.raises(ValueError, match=r"\w"):
            read(text)


def test_an_item_nested_too_deeply_is_marked_and_the_others_are_read() -> None:
    text = b'{"items": [{"a": "]"}, {"b": %b}, {"c": NaN}, %b, {"d": "\\ud83d"}]}' % (DEEP, DEEP)
    first, second, third, fourth, fifth = json_text.decode_batch(text, 3)["items"]
    assert (first, second, fourth, fifth) == ({"a": "]"}, TOO_DEEP, TOO_DEEP, {"d": "\ufffd"})
    assert third["c"] != third["c"]
    with pytest.raises(RecursionError):
        json_text.decode_batch(DEEP, 2001)
    with pytest.raises(RecursionError):
        json_text.decode_batch(b"[" * 600_000, 3)


def test_numbers_of_any_length_are_read_in_a_batch() -> None:
    text = b"[%b, -%b, 1e999, %b]" % (b"9" * 5000, b"9" * 5000, b"9" * 30)
    assert json_text.decode_batch(text, 2) == [
        float("inf"),
        float("-inf"),
        float("inf"),
        10**30 - 1,
    ]
