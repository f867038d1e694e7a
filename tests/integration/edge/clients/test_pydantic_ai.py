"""Pydantic AI: what its agent's tool gave back is the tool's turn, not the user's."""

from __future__ import annotations

import pytest

from tests.integration.edge.clients.running import GIVEN, PATIENCE_S, Door, exporting, talk


def main() -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.instrumented import InstrumentationSettings

    provider = exporting()
    agent = Agent("openai-chat:gpt-4o", system_prompt="Be kind")
    agent.instrument = InstrumentationSettings(tracer_provider=provider)

    @agent.tool_plain
    def weather(city: str) -> str:
        return "sunny"

    first = agent.run_sync("Weather?", conversation_id="pydantic-1")
    agent.run_sync("And?", message_history=first.all_messages(), conversation_id="pydantic-1")
    provider.shutdown()


@pytest.mark.timeout(PATIENCE_S + 60)
async def test_two_runs_are_one_conversation_with_turns_of_the_tool(door: Door) -> None:
    assert await door.run(__file__, **door.otlp()) == ""
    turns = await door.said("pydantic-1", 8)
    called = ("assistant", f"weather({GIVEN})")
    assert talk(turns) == [
        *[("user", "Weather?"), called, ("tool", "sunny"), ("assistant", "Re: sunny")],
        *[("user", "And?"), called, ("tool", "sunny"), ("assistant", "Re: sunny")],
    ]
    assert [turn.model_version for turn in turns] == ["", "gpt-4o"] * 4


if __name__ == "__main__":
    main()
