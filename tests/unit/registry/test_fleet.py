"""What a replica's answer says of a name."""

from __future__ import annotations

import httpx
import pytest

from services.registry.adapters.vllm_fleet import VllmFleet
from shared.language.errors import FailedPrecondition, Internal, TrimtabError, Unavailable

TOKEN = {"choices": [{"text": "!"}]}


def fleet(monkeypatch: pytest.MonkeyPatch, *answers: httpx.Response) -> VllmFleet:
    """A replica for each answer."""
    replicas = [f"http://replica-{n}" for n in range(len(answers))]
    found = VllmFleet(replicas)
    of = {f"replica-{n}": answer for n, answer in enumerate(answers)}
    transport = httpx.MockTransport(lambda request: of[request.url.host])
    monkeypatch.setattr(found, "_client", httpx.Client(transport=transport))
    return found


def test_a_name_is_served_once_every_replica_gave_a_token(monkeypatch: pytest.MonkeyPatch):
    fleet(monkeypatch, httpx.Response(200, json=TOKEN), httpx.Response(200, json=TOKEN)).check("v1")


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        (404, FailedPrecondition, "NOT_SERVED"),
        (429, Unavailable, "REPLICA_BUSY"),
        (408, Unavailable, "REPLICA_AWAY"),
        (500, Unavailable, "REPLICA_AWAY"),
        (503, Unavailable, "REPLICA_AWAY"),
        (400, Internal, "REPLICA_REFUSED"),
        (401, Internal, "REPLICA_REFUSED"),
        (422, Internal, "REPLICA_REFUSED"),
    ],
)
def test_only_a_404_says_that_a_name_is_not_served(
    monkeypatch: pytest.MonkeyPatch, code: int, error: type[TrimtabError], reason: str
):
    answers = httpx.Response(200, json=TOKEN), httpx.Response(code, text="why")
    with pytest.raises(error) as raised:
        fleet(monkeypatch, *answers).check("assistant-v1")
    assert raised.value.reason == reason
    assert "http://replica-1" in raised.value.message


def test_an_answer_without_a_token_is_none(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Internal):
        fleet(monkeypatch, httpx.Response(200, json={"choices": []})).check("assistant-v1")
