"""LiteLLM's callback for OpenTelemetry."""

from __future__ import annotations

import time
from typing import Any

from tests.integration.edge.clients.running import TALK, Door, talk, three_calls


def main() -> None:
    import litellm
    from opentelemetry import trace

    litellm.callbacks = ["otel"]

    class Client:
        """As the OpenAI client, whose calls are LiteLLM's."""

        chat: Any

    client = Client()
    client.chat = Client()
    client.chat.completions = Client()
    client.chat.completions.create = lambda model, **more: litellm.completion(
        model=f"openai/{model}", user="ada", **more
    )
    three_calls(client)
    time.sleep(2)
    provider: Any = trace.get_tracer_provider()
    provider.force_flush()


async def test_three_calls_are_turns_of_their_user(door: Door) -> None:
    said = await door.run(
        __file__,
        OTEL_EXPORTER="otlp_http",
        OTEL_ENDPOINT=door.url,
        OTEL_HEADERS="authorization=Bearer local-dev-key",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    )
    print(said)
    assert TALK and talk


if __name__ == "__main__":
    main()
