"""Served is what was trained: every replica is asked, and what it serves instead has a name."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from services.registry.adapters.vllm_fleet import VllmFleet
from services.registry.domain.versions import State
from shared.gen.trimtab.registry.v1 import proofs_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.language.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from shared.language.groups import Reach
from shared.language.known_answers import KnownAnswer, KnownAnswers, Serves
from tests.unit.registry.test_registry import HOME, Calling, House

TOKEN = httpx.Response(200, json={"choices": [{"text": "!"}]})
KNOWN = KnownAnswers((KnownAnswer((7, 8), (9,), (-0.5,), (-3.0,)),))
TRAINED, BASE, OTHER = [[-0.52]], [[-3.01]], [[-8.0]]


@pytest.fixture
def house() -> Iterator[House]:
    """With two replicas, and a record of the adapter that is registered as "a"."""
    house = House()
    house.adapters.known["made/a"] = KNOWN
    house.fleet.replicas = ("one", "two")
    serve(house, TRAINED, TRAINED)
    yield house
    house.database.close()


def serve(house: House, one: list[list[float]], two: list[list[float]]) -> None:
    house.fleet.seen = {("one", "assistant-v1"): one, ("two", "assistant-v1"): two}


def test_a_version_is_verified_once_every_replica_answers_as_it_was_trained(house: House) -> None:
    serve(house, TRAINED, BASE)
    with pytest.raises(FailedPrecondition) as refused:
        house.register("a")
    assert refused.value.reason == "NOT_AS_TRAINED"
    assert refused.value.message == (
        "two serves the base model instead of its adapter as assistant-v1: 2.51 nats a token from what was"
        " trained, 0.01 from the base model, of which 0.05 are tolerated"
    )
    assert house.app.get("local", "assistant-v1").state == State.REGISTERED
    serve(house, OTHER, TRAINED)
    with pytest.raises(FailedPrecondition, match="one serves another adapter or a stale one"):
        house.register("a")
    serve(house, TRAINED, TRAINED)
    house.register("a")
    found = house.app.get("local", "assistant-v1")
    assert found.state == State.VERIFIED
    assert found.changes[-1].reason.startswith(
        "one serves assistant-v1 as it was trained: 0.02 nats"
    )


def test_without_a_record_one_token_is_enough_and_it_is_said(house: House) -> None:
    house.register("b")
    found = house.app.get("local", "assistant-v1")
    assert found.state == State.VERIFIED
    assert "nothing was recorded of assistant-v1" in found.changes[-1].reason
    assert [one.serves for one in house.proving.verify("local", "assistant-v1")] == [
        Serves.UNPROVED,
        Serves.UNPROVED,
    ]


def test_an_engine_that_tells_no_log_probabilities_proves_nothing(house: House) -> None:
    house.fleet.seen = {}
    house.register("a")
    (one, _) = house.proving.verify("local", "assistant-v1")
    assert (one.serves, one.from_trained) == (Serves.UNPROVED, None)
    assert one.words == "one tells no log-probabilities of prompts; one token of assistant-v1 came"


def test_an_adapter_that_hardly_differs_from_its_base_proves_little(house: House) -> None:
    house.adapters.known["made/a"] = KnownAnswers((KnownAnswer((7,), (9,), (-0.5,), (-0.54,)),))
    house.register("a")
    (one, _) = house.proving.verify("local", "assistant-v1")
    assert one.serves == Serves.AS_TRAINED
    assert one.words.endswith("; the two are only 0.04 apart, so this proves little")


def test_a_canary_that_no_replica_serves_as_trained_goes_back(house: House) -> None:
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    house.judge.check()
    assert house.app.rollout(HOME)[0].canary == "assistant-v1"
    serve(house, OTHER, BASE)
    house.time += timedelta(seconds=15)
    house.judge.check()
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.canary, rollout.champion) == ("", "assistant-v0")
    assert "a replica fails: one serves another adapter or a stale one" in rollout.words
    assert "two serves the base model instead of its adapter" in rollout.words


async def test_a_replica_that_serves_something_else_is_left_out_until_it_no_longer_does(
    house: House,
) -> None:
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    before = house.app.rollout(HOME)[0].revision
    serve(house, TRAINED, BASE)
    house.judge.check()
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.canary, rollout.revision) == ("assistant-v1", before + 1)
    assert [(one.replica, one.served_name) for one in rollout.left_out] == [("two", "assistant-v1")]
    house.judge.check()  # nothing new, so nothing is told anew
    assert house.app.rollout(HOME)[0].revision == before + 1
    whole = await house.servicer.GetRollout(pb.GetRolloutRequest(), Calling("local"))
    (told,) = whole.rollout.left_out
    assert (told.replica, told.served_name) == ("two", "assistant-v1")
    assert told.words.startswith("two serves the base model instead of its adapter as assistant-v1")
    serve(house, TRAINED, TRAINED)
    house.judge.check()
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.left_out, rollout.revision) == ((), before + 2)


def test_who_is_left_out_of_the_champion_stays_so_when_a_rollout_begins(house: House) -> None:
    house.register("a")
    house.app.promote("local", "assistant-v1", "ada", "fine")
    serve(house, TRAINED, BASE)
    house.judge.check_champions()
    house.register("b")
    house.app.start_rollout("local", "r", "assistant-v2", 0.0, "retrain", "passed")
    assert [one.replica for one in house.app.rollout(HOME)[0].left_out] == ["two"]


def test_of_a_version_that_no_longer_serves_nobody_is_left_out(house: House) -> None:
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    serve(house, TRAINED, BASE)
    house.judge.check()
    house.app.rollback(HOME, "", "ada", "no")
    house.judge.check_champions()
    assert house.app.rollout(HOME)[0].left_out == ()


def test_each_adapter_of_a_composed_champion_is_asked_for_at_once(house: House) -> None:
    for number, (request, group) in enumerate((("a", "plan=free"), ("b", "plan=paid")), 1):
        house.adapters.known[f"made/{request}"] = KNOWN
        house.register(request)
        version = f"assistant-v{number}"
        house.app.start_rollout("local", request, version, 0.0, "x", "y", (), Reach((group,)))
        house.app.promote("local", version, "ada", "fine")
    names = ("assistant-v2", "assistant-v1")
    house.fleet.seen = {("one", name): TRAINED for name in names}
    house.fleet.seen |= {("two", name): BASE for name in names}
    house.judge.check_champions()
    found = house.app.rollout(HOME)[0].left_out
    assert [(one.served_name, one.replica) for one in found] == [(name, "two") for name in names]


def test_without_replicas_nothing_is_wrong(house: House) -> None:
    house.fleet.replicas = ()
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    house.judge.check()
    assert house.app.rollout(HOME)[0].canary == "assistant-v1"


def test_a_replica_that_does_not_know_a_version_is_left_out_and_the_others_go_on(
    house: House,
) -> None:
    """Of the champion and of the canary alike; without any that knows it, a canary goes back."""
    house.register("a")
    house.app.promote("local", "assistant-v1", "ada", "fine")
    house.fleet.unknown = {("two", "assistant-v1")}
    house.judge.check_champions()
    (left_out,) = house.app.rollout(HOME)[0].left_out
    assert (left_out.replica, left_out.words) == ("two", "two does not serve assistant-v1")
    house.fleet.unknown = set()
    house.judge.check_champions()
    assert house.app.rollout(HOME)[0].left_out == ()
    house.register("b")
    house.app.start_rollout("local", "r", "assistant-v2", 0.0, "retrain", "passed")
    house.fleet.unknown = {("one", "assistant-v2")}
    house.judge.check()
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.canary, [one.replica for one in rollout.left_out]) == ("assistant-v2", ["one"])
    house.fleet.unknown = {("one", "assistant-v2"), ("two", "assistant-v2")}
    house.judge.check()
    rollout = house.app.rollout(HOME)[0]
    assert (rollout.canary, rollout.champion) == ("", "assistant-v1")
    assert "a replica fails: one does not serve assistant-v2; two does not serve assistant-v2" in (
        rollout.words
    )


def test_a_version_is_not_verified_while_a_replica_does_not_know_it(house: House) -> None:
    house.fleet.unknown = {("two", "assistant-v1")}
    with pytest.raises(FailedPrecondition) as refused:
        house.register("a")
    assert (refused.value.reason, refused.value.message) == (
        "NOT_SERVED",
        "two does not serve assistant-v1",
    )
    told = [one.serves for one in house.proving.verify("local", "assistant-v1")]
    assert told == [Serves.AS_TRAINED, Serves.NOTHING]


def test_an_adapter_that_comes_from_storage_has_time_to_arrive(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.fleet.unknown = {("two", "assistant-v1")}
    house.app = replace(house.app, proving=replace(house.app.proving, arrival_s=60.0))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            house.fleet.unknown = set()

    monkeypatch.setattr(time, "sleep", pause)
    house.register("a")
    assert house.app.get("local", "assistant-v1").state == State.VERIFIED
    assert pauses == [0.5, 0.5]


def test_a_record_that_cannot_be_read_hides_nothing_of_other_versions(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for request, group in (("a", "plan=free"), ("b", "plan=paid")):
        house.adapters.known[f"made/{request}"] = KNOWN
        version = house.register(request)
        house.app.start_rollout("local", request, version, 0.0, "x", "y", (), Reach((group,)))
        house.app.promote("local", version, "ada", "fine")
    house.fleet.seen = {("two", "assistant-v1"): OTHER}
    read = house.adapters.known_answers

    def known_answers(served_name: str) -> KnownAnswers | None:
        if served_name == "assistant-v2":
            raise InvalidArgument("known_answers.json cannot be read", reason="MALFORMED")
        return read(served_name)

    monkeypatch.setattr(house.adapters, "known_answers", known_answers)
    with pytest.raises(InvalidArgument, match="cannot be read"):
        house.judge.check_champions()
    left_out = house.app.rollout(HOME)[0].left_out
    assert [(one.served_name, one.replica) for one in left_out] == [("assistant-v1", "two")]


def test_one_replica_that_is_away_hides_nothing_of_the_others(house: House) -> None:
    house.register("a")
    house.app.promote("local", "assistant-v1", "ada", "fine")
    serve(house, OTHER, TRAINED)
    house.fleet.replicas_away = {"two"}
    with pytest.raises(Unavailable):
        house.judge.check_champions()
    assert [one.replica for one in house.app.rollout(HOME)[0].left_out] == ["one"]
    # Now that one is away, it stays left out: nobody knows better.
    serve(house, TRAINED, TRAINED)
    house.fleet.replicas_away = {"one"}
    with pytest.raises(Unavailable):
        house.judge.check_champions()
    assert [one.replica for one in house.app.rollout(HOME)[0].left_out] == ["one"]
    house.fleet.replicas = ("two",)  # it was taken away for good
    house.judge.check_champions()
    assert house.app.rollout(HOME)[0].left_out == ()


def test_champions_are_asked_too_and_stay_whatever_replicas_serve(house: House) -> None:
    house.register("a")
    house.app.promote("local", "assistant-v1", "ada", "fine")
    house.judge.check_champions()
    assert house.app.rollout(HOME)[0].left_out == ()
    serve(house, OTHER, OTHER)
    house.judge.check_champions()
    rollout = house.app.rollout(HOME)[0]
    assert rollout.champion == "assistant-v1"
    assert [one.replica for one in rollout.left_out] == ["one", "two"]
    house.fleet.away = True
    with pytest.raises(Unavailable):
        house.judge.check_champions()
    assert house.app.rollout(HOME)[0].left_out == rollout.left_out


async def test_operators_can_ask(house: House) -> None:
    house.register("a")
    serve(house, TRAINED, OTHER)
    request = proofs_pb2.VerifyVersionRequest(version="assistant-v1")
    answer = await house.servicer.VerifyVersion(request, Calling("local"))
    one, two = answer.proofs
    assert (one.serves, two.serves) == (
        proofs_pb2.SERVES_AS_TRAINED,
        proofs_pb2.SERVES_SOMETHING_ELSE,
    )
    assert (one.replica, one.from_trained) == ("one", pytest.approx(0.02))
    assert two.from_base == pytest.approx(5.0)
    # Not even one token: the base model's own name, which is always served.
    base = await house.servicer.VerifyVersion(
        proofs_pb2.VerifyVersionRequest(version="assistant-v0"), Calling("local")
    )
    assert [one.serves for one in base.proofs] == [proofs_pb2.SERVES_UNPROVED] * 2
    assert not base.proofs[0].HasField("from_base")
    with pytest.raises(NotFound):
        house.proving.verify("local", "assistant-v9")
    house.fleet.away = True
    with pytest.raises(Unavailable):
        house.proving.verify("local", "assistant-v1")


def fleet(
    monkeypatch: pytest.MonkeyPatch,
    answer: httpx.Response,
    asked: list[object],
    token: httpx.Response = TOKEN,
) -> VllmFleet:
    def handle(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        asked.append(body)
        return token if body["prompt"] == "Hello" else answer

    found = VllmFleet(["http://replica"])
    monkeypatch.setattr(found, "_client", httpx.Client(transport=httpx.MockTransport(handle)))
    return found


def told(*entries: object) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"text": "!", "prompt_logprobs": list(entries)}]})


def test_a_replica_is_asked_for_the_answers_own_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = told(None, {"8": {"logprob": -1.0}}, {"9": {"logprob": -0.5}, "4": {"logprob": -0.4}})
    asked: list[object] = []
    found = fleet(monkeypatch, answer, asked).look("v1", KNOWN)
    assert found == {"http://replica": [[-0.5]]}
    assert asked == [
        {
            "model": "v1",
            "max_tokens": 1,
            "temperature": 0,
            "prompt": [7, 8, 9],
            "prompt_logprobs": 0,
        }
    ]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(400, text="unknown field prompt_logprobs"),
        httpx.Response(422, text="unknown field prompt_logprobs"),
        httpx.Response(200, json={"choices": [{"text": "!"}]}),
        httpx.Response(200, json={"choices": []}),
        httpx.Response(200, text="hello"),
        told(None),
        told(None, None, {"4": {"logprob": -0.4}}),
    ],
)
def test_a_replica_that_does_not_tell_them_is_asked_for_a_token(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response
) -> None:
    assert fleet(monkeypatch, answer, []).look("v1", KNOWN) == {"http://replica": None}
    refusing = fleet(monkeypatch, answer, [], httpx.Response(401)).look("v1", KNOWN)
    assert isinstance(refusing["http://replica"], Internal)


def test_a_replica_that_does_not_know_the_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fleet(monkeypatch, httpx.Response(404, text="no"), []).look("v1", KNOWN)
    error = found["http://replica"]
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "NOT_SERVED"
