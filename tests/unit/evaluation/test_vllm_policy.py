"""What serving's answers mean to an evaluation."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from services.evaluation.adapters.vllm_policy import VllmPolicy
from services.evaluation.ports import Sampling
from shared.language.errors import Internal, NotFound, TrimtabError, Unavailable
from shared.language.messages import Message, ToolCall, ToolResult, text_message

PROMPT = (text_message("user", "Hello?"),)


def policy(monkeypatch: pytest.MonkeyPatch, response: httpx.Response) -> VllmPolicy:
    found = VllmPolicy(["http://replica"])
    transport = httpx.MockTransport(lambda request: response)
    monkeypatch.setattr(found, "_client", httpx.Client(transport=transport))
    return found


def test_one_answer_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"choices": [{"message": {"content": "Hello."}}]}
    answers = policy(monkeypatch, httpx.Response(200, json=said))
    assert answers.answer("v1", [PROMPT, PROMPT], Sampling(5)) == ["Hello.", "Hello."]


@pytest.mark.parametrize("takes_tools", [True, False])
def test_calls_are_sent_as_the_template_takes_them(
    monkeypatch: pytest.MonkeyPatch, takes_tools: bool
) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"choices": [{"message": {"content": "12."}}]})

    serving = VllmPolicy(["http://replica"], takes_tools=takes_tools)
    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(serving, "_client", client)
    call = Message("assistant", (ToolCall("c1", "weather", "{}"),))
    result = Message("tool", (ToolResult("c1", "12 degrees"),))
    serving.answer("v1", [(*PROMPT, call, result)], Sampling(5))
    _, called, told = bodies[0]["messages"]
    assert told["content"] == "12 degrees"
    if takes_tools:
        assert called["tool_calls"][0]["function"] == {"name": "weather", "arguments": "{}"}
    else:
        assert called == {"role": "assistant", "content": "[calls weather with {}]"}


def test_a_prompt_that_serving_refuses_is_asked_again_shorter_and_in_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        messages = json.loads(request.content)["messages"]
        if [one["role"] for one in messages] != ["user"] or len(messages[0]["content"]) > 2000:
            return httpx.Response(400, text="roles must alternate, or the context is exceeded")
        return httpx.Response(200, json={"choices": [{"message": {"content": "Yes."}}]})

    serving = VllmPolicy(["http://replica"])
    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(serving, "_client", client)
    twice = (text_message("system", "Be kind."), *PROMPT, *PROMPT)
    endless = (text_message("user", "word " * 1000),)
    assert serving.answer("v1", [twice, PROMPT, endless], Sampling(5)) == ["Yes."] * 3


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        (404, NotFound, "MODEL_NOT_SERVED"),
        (429, Unavailable, "SERVING_BUSY"),
        (408, Unavailable, "SERVING_BUSY"),
        (401, Unavailable, "SERVING_REFUSES_US"),
        (403, Unavailable, "SERVING_REFUSES_US"),
        (503, Unavailable, "SERVING_FAILED"),
        (400, Internal, "INTERNAL"),
    ],
)
def test_what_passes_is_asked_again_and_the_rest_is_not(
    monkeypatch: pytest.MonkeyPatch, code: int, error: type[TrimtabError], reason: str
) -> None:
    with pytest.raises(error) as raised:
        policy(monkeypatch, httpx.Response(code, text="why")).answer("v1", [PROMPT], Sampling(5))
    assert raised.value.reason == reason
