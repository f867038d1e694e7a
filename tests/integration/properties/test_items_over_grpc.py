"""Whatever one item of a call to interaction is, its neighbours come in, and the answer names it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.calls.client import metadata
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1 import interaction_pb2_grpc as pb_grpc
from tests.integration.properties.doors import MANY, REASON, UTF8, Doors

_WHOLE = st.integers(-(2**31), 2**31 - 1)
_TIME = st.tuples(st.integers(-(2**63), 2**63 - 1), _WHOLE)


def message(text: str, role: Any = common.ROLE_USER) -> common.Message:
    return common.Message(role=role, parts=[common.Part(text=common.TextPart(text=text))])


def _timed(made: Any, time: tuple[int, int]) -> Any:
    made.create_time.seconds, made.create_time.nanos = time
    return made


def turn(text: str, **fields: Any) -> common.Turn:
    known = {"conversation_id": "c", "user_id": "ada", "message": message(text)}
    return common.Turn(**{**known, **fields})


_TURN = st.builds(
    lambda time, **fields: _timed(turn("good 2", **fields), time),
    _TIME,
    index=_WHOLE,
    user_id=UTF8,
    conversation_id=UTF8,
    message=st.builds(message, UTF8, st.integers(0, 9)) | st.just(common.Message()),
    signal=st.integers(0, 9),
    metadata=st.dictionaries(UTF8, UTF8, max_size=2),
)


@MANY
@given(bad=_TURN, streamed=st.booleans())
def test_turns_over_grpc(doors: Doors, bad: common.Turn, streamed: bool) -> None:
    doors.journal.items.clear()
    turns = [turn("good 1"), bad, turn("good 3", index=2)]

    async def log() -> Any:
        stub = pb_grpc.InteractionServiceStub(doors.channel)
        if not streamed:
            request = pb.LogTurnsRequest(turns=turns)
            return await stub.LogTurns(request, metadata=metadata("acme"))
        requests = [pb.StreamTurnsRequest(turns=[one]) for one in turns]
        return await stub.StreamTurns(iter(requests), metadata=metadata("acme"))

    _refuses_the_second(doors, doors.run(log()).refusals)


@MANY
@given(
    bad=st.builds(
        lambda time, **fields: _timed(common.ExplicitFeedback(**fields), time),
        _TIME,
        conversation_id=UTF8,
        index=_WHOLE,
        comment=UTF8,
        user_id=UTF8,
        rating=st.builds(common.Rating, value=st.floats(), min=st.floats(), max=st.floats()),
    )
)
def test_feedback_over_grpc(doors: Doors, bad: common.ExplicitFeedback) -> None:
    doors.journal.items.clear()
    good = [common.ExplicitFeedback(conversation_id="c", comment=f"good {n}") for n in (1, 3)]

    async def log() -> Any:
        stub = pb_grpc.InteractionServiceStub(doors.channel)
        request = pb.LogFeedbackRequest(feedback=[good[0], bad, good[1]])
        return await stub.LogFeedback(request, metadata=metadata("acme"))

    _refuses_the_second(doors, doors.run(log()).refusals)


@MANY
@given(
    bad=st.builds(
        lambda time, **fields: _timed(common.Assessment(**fields), time),
        _TIME,
        conversation_id=UTF8,
        completion_id=UTF8,
        name=UTF8,
        explanation=UTF8,
        user_id=UTF8,
        value=st.floats() | st.none(),
    )
)
def test_assessments_over_grpc(doors: Doors, bad: common.Assessment) -> None:
    doors.journal.items.clear()
    good = [
        common.Assessment(conversation_id="c", name="toxicity", explanation=f"good {n}")
        for n in (1, 3)
    ]

    async def log() -> Any:
        stub = pb_grpc.InteractionServiceStub(doors.channel)
        request = pb.LogAssessmentsRequest(assessments=[good[0], bad, good[1]])
        return await stub.LogAssessments(request, metadata=metadata("acme"))

    _refuses_the_second(doors, doors.run(log()).refusals)


def pair(text: str, **fields: Any) -> events_pb2.PreferencePair:
    sides = {name: message(name, common.ROLE_ASSISTANT) for name in ("chosen", "rejected")}
    source = events_pb2.PAIR_SOURCE_IMPORT
    known = {"user_id": "ada", "source": source, "prompt": [message(text)], **sides}
    return events_pb2.PreferencePair(**{**known, **fields})


@MANY
@given(
    bad=st.builds(
        lambda time, **fields: _timed(pair("good 2", **fields), time),
        _TIME,
        user_id=UTF8,
        source=st.integers(0, 20),
        confidence=st.floats(width=32),
        chosen=st.builds(message, UTF8, st.integers(0, 9)),
        prompt=st.lists(st.builds(message, UTF8, st.integers(0, 9)), max_size=2),
    )
)
def test_preferences_over_grpc(doors: Doors, bad: events_pb2.PreferencePair) -> None:
    doors.journal.items.clear()

    async def log() -> Any:
        stub = pb_grpc.InteractionServiceStub(doors.channel)
        request = pb.LogPreferencesRequest(pairs=[pair("good 1"), bad, pair("good 3")])
        return await stub.LogPreferences(request, metadata=metadata("acme"))

    _refuses_the_second(doors, doors.run(log()).refusals)


def _refuses_the_second(doors: Doors, refusals: Any) -> None:
    assert {one.position for one in refusals} <= {1}
    assert all(REASON.fullmatch(one.reason) and one.message for one in refusals)
    assert len(doors.journal.items) == 3 - len(refusals)
    assert doors.took(1)
    assert doors.took(3)
