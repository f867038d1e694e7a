"""LangChain (langchain-openai), traced by LangSmith's client over OTLP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.edge.clients.running import PATIENCE_S, TALK, TOOL, Door, talk


def main() -> None:
    from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
    from langchain_core.tracers.langchain import wait_for_all_tracers
    from langchain_openai import ChatOpenAI
    from langsmith.run_trees import get_cached_client

    model = ChatOpenAI(model="gpt-4o")
    config: Any = {"metadata": {"session_id": "langchain-1", "user_id": "ada"}}
    history = [SystemMessage("Be kind"), HumanMessage("Hello")]
    history += [model.invoke(history, config), HumanMessage("Weather?")]
    with_tool = model.bind_tools([TOOL])
    history += [with_tool.invoke(history, config), ToolMessage("sunny", tool_call_id="call_1")]
    with_tool.invoke(history, config)
    wait_for_all_tracers()
    get_cached_client().flush()


@pytest.mark.timeout(PATIENCE_S + 60)
async def test_three_calls_are_one_conversation(door: Door) -> None:
    lines = door.otlp(
        LANGSMITH_TRACING="true", LANGSMITH_OTEL_ENABLED="true", LANGSMITH_OTEL_ONLY="true"
    )
    assert await door.run(__file__, **lines) == ""
    turns = await door.said("langchain-1")
    assert talk(turns) == TALK
    assert [turn.model_version for turn in turns] == ["", "gpt-4o", "", "gpt-4o", "", "gpt-4o"]
    assert {turn.user_id for turn in turns} == {"ada"}


if __name__ == "__main__":
    main()
