"""OpenLLMetry (Traceloop's opentelemetry-instrumentation-openai)."""

from __future__ import annotations

import pytest

from tests.integration.edge.clients.running import (
    PATIENCE_S,
    TALK,
    Door,
    exporting,
    talk,
    three_calls,
)


def main() -> None:
    from openai import OpenAI
    from opentelemetry import trace
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    provider = exporting()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    tracer = provider.get_tracer("app")
    named = {
        # What Traceloop.set_association_properties writes on every span.
        "traceloop.association.properties.session_id": "openllmetry-1",
        "traceloop.association.properties.user_id": "ada",
    }
    provider.add_span_processor(_Naming(named))
    with tracer.start_as_current_span("handle"):
        three_calls(OpenAI())
    assert trace.get_current_span() is not None
    provider.shutdown()


class _Naming:
    def __init__(self, named: dict[str, str]) -> None:
        self._named = named

    def on_start(self, span: object, parent_context: object = None) -> None:
        span.set_attributes(self._named)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return lambda *_, **__: True


@pytest.mark.timeout(PATIENCE_S + 60)
async def test_three_calls_are_one_conversation(door: Door) -> None:
    assert await door.run(__file__, **door.otlp()) == ""
    turns = await door.said("openllmetry-1")
    assert talk(turns) == TALK
    assert [turn.model_version for turn in turns] == ["", "gpt-4o", "", "gpt-4o", "", "gpt-4o"]
    assert turns[5].completion_id == "chatcmpl-6"
    assert {turn.user_id for turn in turns} == {"ada"}


if __name__ == "__main__":
    main()
