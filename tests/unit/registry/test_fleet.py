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


def test_without_known_answers_a_token_is_enough(monkeypatch: pytest.MonkeyPatch):
    answers = httpx.Response(200, json=TOKEN), httpx.Response(200, json=TOKEN)
    found = fleet(monkeypatch, *answers).look("v1", None)
    assert found == {"http://replica-0": None, "http://replica-1": None}


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
    """And whatever one replica answers, the other is asked."""
    answers = httpx.Response(code, text="why"), httpx.Response(200, json=TOKEN)
    first, second = fleet(monkeypatch, *answers).look("assistant-v1", None).values()
    assert isinstance(first, error)
    assert first.reason == reason
    assert "http://replica-0" in first.message
    assert second is None


def test_an_answer_without_a_token_is_none(monkeypatch: pytest.MonkeyPatch):
    (found,) = (
        fleet(monkeypatch, httpx.Response(200, json={"choices": []})).look("v1", None).values()
    )
    assert isinstance(found, Internal)
