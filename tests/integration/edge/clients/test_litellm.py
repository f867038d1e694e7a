"""LiteLLM's callback for OpenTelemetry. Its spans name no conversation: the calls are linked by their history.

It says of an answer that calls tools only the names, without the calls' ids: such an answer comes with the next
call's history, and its version is not known.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.edge.clients.running import PATIENCE_S, TALK, Door, talk, three_calls
from tests.integration.edge.store import KEY


def main() -> None:
    import litellm
    from opentelemetry import trace

    litellm.callbacks = ["otel"]

    def create(model: str, **more: Any) -> Any:
        return litellm.completion(model=f"openai/{model}", user="litellm-ada", **more)

    three_calls(SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create))))
    litellm.utils.executor.shutdown(wait=True)  # where callbacks run
    provider: Any = trace.get_tracer_provider()
    provider.force_flush()


@pytest.mark.timeout(PATIENCE_S + 60)
async def test_three_calls_are_one_conversation(door: Door) -> None:
    said = await door.run(
        __file__,
        OTEL_EXPORTER="otlp_http",
        OTEL_ENDPOINT=door.url,
        OTEL_HEADERS=f"authorization=Bearer {KEY}",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    )
    # It says so itself, whoever it exports to.
    assert all("Proxy Server is not installed" in line for line in said.splitlines())
    turns = await door.said(await door.conversation_of("litellm-ada", len(TALK)))
    assert talk(turns) == TALK
    assert [turn.model_version for turn in turns] == ["", "gpt-4o", "", "", "", "gpt-4o"]
    assert turns[5].completion_id == "chatcmpl-6"


if __name__ == "__main__":
    main()
