from __future__ import annotations

import pytest

from shared.contracts.messages import decode_message, encode_message
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound
from shared.language.identifiers import check_segment, parse_name, share_of, stable_id, user_id_of
from shared.language.messages import Media, Message, Text, ToolCall, ToolResult
from shared.language.paging import Term, decode_token, encode_token, page_size, parse_filter
from shared.language.splits import HELD_OUT_SHARE, fold, is_held_out
from shared.state import operations
from shared.state.database import Database


def test_ids_are_the_same_everywhere_and_parts_do_not_run_together() -> None:
    assert stable_id("a", "bc") == "5310a58788781ab25d5ad7c3"
    assert stable_id("a", "bc") != stable_id("ab", "c")
    assert len(stable_id("x", length=10)) == 10


def test_the_sticky_hash_spreads_evenly() -> None:
    shares = [share_of(f"user-{n}", "salt") for n in range(10_000)]
    assert 0.18 < sum(share < 0.2 for share in shares) / 10_000 < 0.22
    assert share_of("u", "a") == share_of("u", "a") != share_of("u", "b")


def test_held_out_users_are_a_fifth_and_folds_are_even() -> None:
    held = sum(is_held_out("t", f"u{n}") for n in range(5_000)) / 5_000
    assert abs(held - HELD_OUT_SHARE) < 0.02
    sizes = [sum(fold("t", f"u{n}", 5) == k for n in range(5_000)) for k in range(5)]
    assert min(sizes) > 900


def test_names() -> None:
    assert parse_name("tenants/a/users/b", "tenants/*/users/*") == ("a", "b")
    for bad in ("tenants/a", "tenants/a/users/", "tenants/a/users/../b", "x/a/users/b"):
        with pytest.raises(InvalidArgument):
            parse_name(bad, "tenants/*/users/*")
    with pytest.raises(InvalidArgument, match="user_id"):
        check_segment("a/b", "user_id")


def test_filters_name_what_is_wrong() -> None:
    fields = ("user_id", "create_time", "label")
    assert parse_filter('label = "a \\"b\\"" AND create_time >= 2026', fields) == (
        Term("label", "=", 'a "b"'),
        Term("create_time", ">=", "2026"),
    )
    assert parse_filter("", fields) == ()
    quoted = 'a "b" \\\\ c'.replace('"', '\\"')
    (term,) = parse_filter(f'user_id = "{quoted}"', fields)
    assert term.value == user_id_of('a "b" \\ c')
    (term,) = parse_filter("user_id = auth0|5f7c", fields)
    assert term.value == user_id_of("auth0|5f7c")
    with pytest.raises(InvalidArgument, match="it can name: user_id, create_time"):
        parse_filter('name = "x"', fields)
    with pytest.raises(InvalidArgument, match="form"):
        parse_filter("user_id ~ x", fields)


def test_page_tokens_belong_to_their_request() -> None:
    token = encode_token([3, "x"], "filter-a")
    assert decode_token(token, "filter-a") == [3, "x"]
    assert decode_token("", "filter-a") is None
    for bad, request in ((token, "filter-b"), ("???", "filter-a")):
        with pytest.raises(InvalidArgument, match="page_token"):
            decode_token(bad, request)
    assert (page_size(0), page_size(7), page_size(10**6)) == (50, 7, 1000)
    with pytest.raises(InvalidArgument):
        page_size(-1)


def test_messages_survive_the_wire() -> None:
    parts = (Text("hi"), Media("s3://a/b.png", "image/png"), ToolCall("c", "f", "{}"))
    message = Message("assistant", (*parts, ToolResult("c", "4")))
    assert decode_message(encode_message(message)) == message
    assert message.text == "hi"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.Message(parts=[pb.Part(text=pb.TextPart(text="x"))]), "turn.message.role"),
        (pb.Message(role=pb.ROLE_USER), "turn.message.parts"),
        (pb.Message(role=pb.ROLE_USER, parts=[pb.Part()]), "turn.message.parts[0]"),
    ],
)
def test_a_bad_message_names_its_field(message: pb.Message, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_message(message, "turn.message")
    assert caught.value.field == field


def test_operations_begin_once_and_end_with_response_or_error() -> None:
    database = Database("sqlite://")
    with database.begin() as transaction:
        assert operations.begin(transaction, "operations/a", pb.TextPart(text="0"))
        assert not operations.begin(transaction, "operations/a", pb.TextPart(text="1"))
        operations.begin(transaction, "operations/b", pb.TextPart())
        operations.progress(transaction, "operations/a", pb.TextPart(text="half"))
        operations.succeed(transaction, "operations/a", pb.TextPart(text="done"))
        operations.fail(transaction, "operations/b", FailedPrecondition("no", reason="NOT_YET"))
    done, failed = (operations.get(database, f"operations/{n}") for n in "ab")
    text = pb.TextPart()
    assert done.done and done.response.Unpack(text) and text.text == "done"
    assert done.metadata.Unpack(text) and text.text == "half"
    assert failed.done and (failed.error.code, failed.error.message) == (9, "no")
    with pytest.raises(NotFound):
        operations.get(database, "operations/c")
