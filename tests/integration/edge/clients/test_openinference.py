"""OpenInference (openinference-instrumentation-openai)."""

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
    from openinference.instrumentation import using_attributes
    from openinference.instrumentation.openai import OpenAIInstrumentor

    provider = exporting()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    with using_attributes(session_id="openinference-1", user_id="auth0|ada"):
        three_calls(OpenAI())
    provider.shutdown()


@pytest.mark.timeout(PATIENCE_S + 60)
async def test_three_calls_are_one_conversation(door: Door) -> None:
    assert await door.run(__file__, **door.otlp()) == ""
    turns = await door.said("openinference-1")
    assert talk(turns) == TALK
    assert [turn.model_version for turn in turns] == ["", "gpt-4o", "", "gpt-4o", "", "gpt-4o"]
    assert turns[5].completion_id == "chatcmpl-6"
    assert len({turn.user_id for turn in turns}) == 1
    assert turns[0].user_id.startswith("user-")


if __name__ == "__main__":
    main()
