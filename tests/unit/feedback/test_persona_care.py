"""Personas over the API: versions, corrections, freezing, deletion; and what mining does after each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc
import pytest

from services.feedback.personas.app import care as persona_care
from services.feedback.personas.domain import PERSONA_OF_COMPLAINT, PERSONAS
from shared.calls.client import aio_channel, metadata
from shared.calls.server import RpcServer
from shared.contracts.status import decode_error
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.gen.trimtab.feedback.v1 import feedback_pb2_grpc as pb_grpc
from shared.language.errors import TrimtabError
from shared.language.messages import Message
from shared.language.times import now
from shared.language.topics import PERSONA_UPDATED
from shared.state.stage import drain
from tests.unit.feedback.house import LONG, SHORT, House, work_of

TENANT = metadata("local")
NAME = "tenants/local/users/ada/persona"
LINES = "feedback.persona_lines"


@pytest.fixture
def house() -> House:
    made = House(persona_min_turns=100)  # only complaints ask for one
    complain(made, "c1")
    return made


@pytest.fixture
async def stub(house: House) -> AsyncIterator[pb_grpc.FeedbackServiceAsyncStub]:
    server = RpcServer("feedback", [house.parts.mount()])
    port = await server.start()
    channel = aio_channel(f"127.0.0.1:{port}")
    yield pb_grpc.FeedbackServiceStub(channel)
    await channel.close()
    await server.drain()


def complain(house: House, conversation: str, times: int = 1) -> None:
    """Each complaint is one; personas are asked for at the first, the second, the fourth ..."""
    for number in range(times):
        talk = f"{conversation}.{number}"
        house.chat_with("ada", talk, "what is a river?", LONG, "shorter please")
    house.settle()


def published(house: House) -> list[events.Persona]:
    house.settle()
    return [e.persona for e in house.published(PERSONA_UPDATED, events.PersonaUpdated)]


async def get(stub: pb_grpc.FeedbackServiceAsyncStub) -> events.Persona:
    answer = await stub.GetPersona(pb.GetPersonaRequest(name=NAME), metadata=TENANT)
    return answer.persona


async def correct(stub: pb_grpc.FeedbackServiceAsyncStub, **fields: str) -> events.Persona:
    request = pb.CorrectPersonaRequest(name=NAME, actor="ada", **fields)
    return (await stub.CorrectPersona(request, metadata=TENANT)).persona


async def refused(call: object) -> TrimtabError:
    with pytest.raises(grpc.RpcError) as caught:
        await call  # type: ignore[misc]
    return decode_error(caught.value, "feedback")


async def test_each_line_names_the_turns_that_support_it(
    stub: pb_grpc.FeedbackServiceAsyncStub,
) -> None:
    persona = await get(stub)
    (line,) = persona.lines
    assert (line.text, line.basis) == (persona.text, events.PERSONA_BASIS_STATED)
    assert line.evidence == ["tenants/local/conversations/c1.0/turns/t2"]
    assert line.used
    assert (persona.version, persona.change) == (1, events.PERSONA_CHANGE_MODEL)


async def test_a_correction_wins_over_later_inference(
    stub: pb_grpc.FeedbackServiceAsyncStub, house: House
) -> None:
    wrong = (await get(stub)).lines[0]
    mended = await correct(stub, line_id=wrong.line_id, text="I like long answers.")
    assert (mended.text, mended.version) == ("I like long answers.", 2)
    assert (mended.struck, mended.actor) == ([wrong.text], "ada")
    assert await correct(stub, text="I like  long answers.") == mended  # the same twice
    complain(house, "c2", times=3)
    assert (await get(stub)).text == "I like long answers."
    counts = house.counts(LINES)
    assert counts[("dropped", "CORRECTED")] == 2  # at the second and at the fourth complaint
    assert [p.version for p in published(house)] == [1, 2]
    assert house.adds_up()


async def test_a_line_is_struck_or_added(
    stub: pb_grpc.FeedbackServiceAsyncStub, house: House
) -> None:
    line = (await get(stub)).lines[0]
    struck = await correct(stub, line_id=line.line_id)
    assert (struck.text, struck.struck, list(struck.lines)) == ("", [line.text], [])
    complain(house, "c2")
    assert (await get(stub)).text == ""
    added = await correct(stub, text="I have diabetes.")  # what users say of themselves on purpose
    assert (added.text, added.lines[0].basis) == (
        "I have diabetes.",
        events.PERSONA_BASIS_CORRECTED,
    )
    nothing = stub.CorrectPersona(pb.CorrectPersonaRequest(name=NAME), metadata=TENANT)
    assert (await refused(nothing)).reason == "EMPTY_CORRECTION"
    request = pb.CorrectPersonaRequest(name=NAME, line_id="nope")
    error = await refused(stub.CorrectPersona(request, metadata=TENANT))
    assert (error.reason, error.field) == ("LINE_NOT_FOUND", "line_id")
    request = pb.CorrectPersonaRequest(name=NAME, text="word " * 61)
    error = await refused(stub.CorrectPersona(request, metadata=TENANT))
    assert (error.reason, error.field) == ("TOO_LONG", "text")


async def test_what_is_corrected_is_redacted_as_at_every_door(
    stub: pb_grpc.FeedbackServiceAsyncStub,
) -> None:
    secret = "sk-proj-" + "a1B2" * 12
    mended = await correct(stub, text=f"My key is {secret}, be brief.")
    assert secret not in mended.text and mended.text.startswith("My key is [")


async def test_a_frozen_persona_stays_as_it_is(
    stub: pb_grpc.FeedbackServiceAsyncStub, house: House
) -> None:
    request = pb.FreezePersonaRequest(name=NAME, actor="ops")
    frozen = (await stub.FreezePersona(request, metadata=TENANT)).persona
    assert (frozen.frozen, frozen.version, frozen.actor) == (True, 2, "ops")
    assert (await stub.FreezePersona(request, metadata=TENANT)).persona == frozen
    asked = len(house.chat.calls)
    complain(house, "c2")
    assert (await get(stub)) == frozen
    assert house.counts(PERSONAS)[("abstained", "FROZEN")] == 1
    assert not any("how this user" in call[-1].text for call in house.chat.calls[asked:])
    thawed = (
        await stub.UnfreezePersona(pb.UnfreezePersonaRequest(name=NAME), metadata=TENANT)
    ).persona
    assert (thawed.frozen, thawed.version) == (False, 3)
    assert thawed.text == frozen.text


async def test_who_has_no_persona_can_refuse_one(
    stub: pb_grpc.FeedbackServiceAsyncStub, house: House
) -> None:
    name = "tenants/local/users/bob/persona"
    await stub.FreezePersona(pb.FreezePersonaRequest(name=name), metadata=TENANT)
    house.chat_with("bob", "b1", "what is a river?", LONG, "shorter please")
    house.settle()
    found = (await stub.GetPersona(pb.GetPersonaRequest(name=name), metadata=TENANT)).persona
    assert (found.text, found.frozen) == ("", True)
    unfrozen = stub.UnfreezePersona(
        pb.UnfreezePersonaRequest(name="tenants/local/users/eve/persona"), metadata=TENANT
    )
    assert (await refused(unfrozen)).reason == "PERSONA_NOT_FOUND"


async def test_deletion_takes_the_history_and_what_was_said_before_is_not_used_again(
    stub: pb_grpc.FeedbackServiceAsyncStub, house: House
) -> None:
    await correct(stub, text="I like tables.")
    request = pb.DeletePersonaRequest(name=NAME, actor="ada")
    assert (await stub.DeletePersona(request, metadata=TENANT)).versions == 2
    versions = pb.ListPersonaVersionsRequest(name=NAME)
    assert (await stub.ListPersonaVersions(versions, metadata=TENANT)).total_size == 0
    listed = await stub.ListPersonas(pb.ListPersonasRequest(), metadata=TENANT)
    assert listed.total_size == 0
    get_again = stub.GetPersona(pb.GetPersonaRequest(name=NAME), metadata=TENANT)
    assert (await refused(get_again)).reason == "PERSONA_NOT_FOUND"
    assert (
        await refused(stub.DeletePersona(request, metadata=TENANT))
    ).reason == "PERSONA_NOT_FOUND"
    assert [(p.version, p.text) for p in published(house)][-1] == (3, "")
    complain(house, "c2")  # said at times before the deletion, as all turns of this house are
    assert house.counts(PERSONAS)[("abstained", "NO_TEXT")] == 1
    assert (await correct(stub, text="Be kind.")).version == 4
    assert house.adds_up()


async def test_a_persona_that_is_being_written_when_it_is_deleted_is_not_kept(
    stub: pb_grpc.FeedbackServiceAsyncStub, house: House
) -> None:
    house.chat_with("ada", "c2", "what is a river?", LONG, "shorter please")
    drain(house.parts.turns)
    house.parts.judge.once()
    script = house.chat._script

    def deletes(messages: Sequence[Message]) -> str:
        with house.database.begin() as transaction:
            persona_care.delete("local", "ada", "", now(), work_of(transaction))
        return script(messages)

    house.chat._script = deletes
    assert house.parts.workers[PERSONA_OF_COMPLAINT].run_once()
    house.chat._script = script
    assert house.counts(PERSONAS)[("abstained", "DELETED")] == 1
    get_again = stub.GetPersona(pb.GetPersonaRequest(name=NAME), metadata=TENANT)
    assert (await refused(get_again)).reason == "PERSONA_NOT_FOUND"


async def test_versions_are_listed_newest_first_by_page(
    stub: pb_grpc.FeedbackServiceAsyncStub,
) -> None:
    for text in ("I like tables.", "Be kind.", "Say you."):
        await correct(stub, text=text)
    seen, token = [], ""
    while True:
        request = pb.ListPersonaVersionsRequest(name=NAME, page_size=3, page_token=token)
        page = await stub.ListPersonaVersions(request, metadata=TENANT)
        assert page.total_size == 4
        seen += [(persona.version, persona.change) for persona in page.personas]
        token = page.next_page_token
        if not token:
            break
    corrected = events.PERSONA_CHANGE_CORRECTED
    assert seen == [
        (4, corrected),
        (3, corrected),
        (2, corrected),
        (1, events.PERSONA_CHANGE_MODEL),
    ]


async def test_nobody_elses_tenant(stub: pb_grpc.FeedbackServiceAsyncStub) -> None:
    foreign = stub.DeletePersona(pb.DeletePersonaRequest(name=NAME), metadata=metadata("other"))
    assert (await refused(foreign)).reason == "FOREIGN_TENANT"


def test_sentences_that_nothing_supports_are_dropped_and_counted() -> None:
    house = House()
    script = house.chat._script
    written = "This user has cancer. This user likes gardening. This user wants it short."
    house.chat._script = lambda messages: (
        written if "how this user" in messages[-1].text else script(messages)
    )
    house.chat_with("ada", "c1", "what is cancer?", SHORT, "please shorter")
    house.settle()
    assert house.counts(LINES) == {
        ("taken", ""): 3,
        ("made", "stated"): 1,
        ("dropped", "SENSITIVE_HEALTH"): 1,
        ("dropped", "UNGROUNDED"): 1,
    }
    assert house.adds_up()


def test_a_trait_is_used_once_a_second_turn_supports_it() -> None:
    house = House(persona_min_turns=2)
    house.chat_with("ada", "c1", "rivers briefly?", SHORT, "lol")
    house.settle()
    assert house.counts(PERSONAS) == {("taken", ""): 1, ("abstained", "TOO_LITTLE_EVIDENCE"): 1}
    waiting = house.parts.personas.user("local", "ada").persona
    assert waiting is not None and not waiting.is_there and not waiting.lines[0].used
    assert house.parts.personas.personas("local", "", 10) == ([], False, 0)
    house.chat_with("ada", "c2", "lakes briefly?", SHORT, "lol")
    house.settle()
    (persona,) = published(house)
    assert (persona.text, persona.version) == ("This user wants shorter answers.", 1)
    supporting = {name.rpartition("conversations/")[2] for name in persona.evidence}
    assert supporting == {"c1/turns/t0", "c2/turns/t0"}
    assert house.adds_up()
