"""The Langfuse SDK, with its OpenAI wrapper: spans, scores, what else it asks."""

from __future__ import annotations

import asyncio
import time

import pytest

from shared.gen.trimtab.common.v1 import common_pb2 as common
from tests.integration.edge.clients.running import PATIENCE_S, TALK, Door, talk, three_calls
from tests.integration.edge.store import KEY


def main() -> None:
    from langfuse import Langfuse, propagate_attributes
    from langfuse.openai import OpenAI  # type: ignore[attr-defined]

    langfuse = Langfuse()
    assert langfuse.auth_check()
    with (
        propagate_attributes(session_id="langfuse-1", user_id="ada"),
        langfuse.start_as_current_observation(name="handle", as_type="span") as span,
    ):
        three_calls(OpenAI())
        langfuse.flush()
        span.score(name="user-feedback", value=1, data_type="BOOLEAN")
        span.score(name="toxicity", value=0.97)
    with langfuse.start_as_current_observation(name="other", as_type="generation") as generation:
        generation.update(input="What is two and two?", output="Four", model="gpt-4o")
        print("trace", generation.trace_id)
    langfuse.flush()
    langfuse.shutdown()


@pytest.mark.timeout(PATIENCE_S + 60)
async def test_its_generations_are_one_conversation_and_its_scores_find_them(door: Door) -> None:
    said = await door.run(
        __file__,
        LANGFUSE_HOST=door.url,
        LANGFUSE_BASE_URL=door.url,
        LANGFUSE_PUBLIC_KEY="pk-any",
        LANGFUSE_SECRET_KEY=KEY,
    )
    (line,) = said.splitlines()  # and no error of the SDK
    turns = await door.said("langfuse-1")
    assert talk(turns) == TALK
    assert [turn.model_version for turn in turns] == ["", "gpt-4o", "", "gpt-4o", "", "gpt-4o"]
    assert {turn.user_id for turn in turns} == {"ada"}
    other = await door.said(line.removeprefix("trace "), 2)
    assert talk(other) == [("user", "What is two and two?"), ("assistant", "Four")]
    (toxicity,) = await _assessments(door)
    assert (toxicity.name, toxicity.value) == ("toxicity", 0.97)
    # The span around the calls was scored: its last answer is meant.
    assert toxicity.completion_id in {turn.completion_id for turn in turns}


async def _assessments(door: Door, within_s: float = 20.0) -> list[common.Assessment]:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = await door.store.conversation("langfuse-1")
        if found is not None and found.assessments:
            return list(found.assessments)
        await asyncio.sleep(0.1)
    raise AssertionError(f"no assessment after {within_s} s")


if __name__ == "__main__":
    main()
