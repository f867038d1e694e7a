"""What of a model's refusals passes, and what a prompt is refused for."""

from __future__ import annotations

import httpx
import pytest

from services.feedback.mining.adapters.vllm_chat import VllmChat
from shared.language.errors import InvalidArgument, TrimtabError, Unavailable
from shared.language.messages import text_message


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        (401, Unavailable, "MODEL_AWAY"),
        (403, Unavailable, "MODEL_AWAY"),
        (404, Unavailable, "MODEL_AWAY"),
        (429, Unavailable, "MODEL_AWAY"),
        (503, Unavailable, "MODEL_AWAY"),
        (400, InvalidArgument, "MODEL_REFUSED"),
    ],
)
def test_only_the_prompts_own_fault_is_final(
    monkeypatch: pytest.MonkeyPatch, code: int, error: type[TrimtabError], reason: str
) -> None:
    chat = VllmChat(("http://replica",), "m")
    answers = httpx.MockTransport(lambda request: httpx.Response(code, text="why"))
    monkeypatch.setattr(chat, "_client", httpx.Client(transport=answers))
    with pytest.raises(error) as raised:
        chat.complete([text_message("user", "Hello")], 1, 0.0, 16)
    assert raised.value.reason == reason
