"""Applications that know nothing of Trimtab, with the official client and the instrumentations in use: what
they export ends as conversations in the store. The first is set up as the gateway's README says, word for word.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import pytest

from infra.local.paths import REPO
from infra.local.stack import LocalStack
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from tests.e2e.policy_server import PolicyServer
from tests.integration.edge.store import KEY, MINE, Interaction

README = (REPO / "services" / "gateway" / "README.md").read_text()
# Index, text, version.
Said = list[tuple[int, str, str]]

# Set up in code, as these write log records or are others' instrumentations.
SET_UP = """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from {module} import OpenAIInstrumentor

tracers, loggers = TracerProvider(), LoggerProvider()
tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
trace.set_tracer_provider(tracers)
OpenAIInstrumentor().instrument({options})
import atexit
atexit.register(loggers.shutdown)
"""
CHAT = """
import sys
from openai import OpenAI

client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="none")
asked = [{"role": "system", "content": "Be brief."}]
for said in sys.argv[2:]:
    asked.append({"role": "user", "content": said})
    done = client.chat.completions.create(model="shop-bot", messages=asked)
    asked.append({"role": "assistant", "content": done.choices[0].message.content})
    print(done.choices[0].message.content)
"""
ROUTED = """
import sys
from openai import OpenAI
from opentelemetry import trace

client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="none")

def ask(system, *messages):
    said = [{"role": "system", "content": system}, *messages]
    done = client.chat.completions.create(model="shop-bot", messages=said)
    print(done.choices[0].message.content)
    return {"role": "assistant", "content": done.choices[0].message.content}

history = []
for said in sys.argv[2:]:
    with trace.get_tracer("shop").start_as_current_span("turn"):
        user = {"role": "user", "content": said}
        ask("Classify what the user wants: travel, hotel or other.", user)
        history += [user, ask("You help people who travel.", *history, user)]
"""
CURRENT = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only",
}
EVENTS = {**CURRENT, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "event_only"}
OLDER = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
OFFICIAL = ("opentelemetry.instrumentation.openai_v2", "logger_provider=loggers")
SET_UPS = {
    "official": (*OFFICIAL, CURRENT, "shop-bot"),
    "official, log records": (*OFFICIAL, EVENTS, "shop-bot"),
    # A log record for each message; the model's name is on the span only, which comes later.
    "official, older log records": (*OFFICIAL, OLDER, ""),
    "OpenLLMetry": ("opentelemetry.instrumentation.openai", "", {}, "shop-bot"),
    "OpenInference": ("openinference.instrumentation.openai", "", {}, "shop-bot"),
}


def recipe() -> tuple[str, dict[str, str]]:
    """The code and the environment of the README's recipe."""
    section = README.partition("### Recipe")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return code, dict(re.findall(r"^export (\w+)='?(.*?)'?$", section, re.MULTILINE))


def run(stack: LocalStack, application: str, environment: dict[str, str], *texts: str) -> list[str]:
    """What the application printed."""
    url = stack.env()["TRIMTAB_GATEWAY_URL"]
    held = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://GATEWAY:8080",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer KEY",
        **environment,
    }
    told = {
        name: value.replace("http://GATEWAY:8080", url).replace("KEY", KEY)
        for name, value in held.items()
    }
    with PolicyServer() as model:
        ran = subprocess.run(
            [sys.executable, "-c", application, model.url, *texts],
            env={**os.environ, **told},
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture
async def interaction(stack: LocalStack) -> AsyncIterator[Interaction]:
    stack.wait_ready(["interaction", "gateway"])
    client = Interaction(stack)
    yield client
    await client.close()


async def found(interaction: Interaction, about: str, turns: int) -> list[Said]:
    """Every conversation in which a word was said, once they have that many turns together; the longest
    first."""
    deadline = time.monotonic() + 30
    while True:
        listed = await interaction.stub.ListConversations(
            pb.ListConversationsRequest(page_size=500), metadata=MINE
        )
        every = [await interaction.conversation(c.conversation_id) for c in listed.conversations]
        told = [said(list(one.turns)) for one in every if one is not None]
        theirs = [one for one in told if any(about in text for _, text, _ in one)]
        if sum(map(len, theirs)) >= turns or time.monotonic() > deadline:
            return sorted(theirs, key=len, reverse=True)


def said(turns: list[common.Turn]) -> Said:
    return [(one.index, one.message.parts[0].text.text, one.model_version) for one in turns]


def chat(texts: tuple[str, ...], answers: list[str], version: str) -> Said:
    both = [one for pair in zip(texts, answers, strict=True) for one in pair]
    return [(place, text, version if place % 2 else "") for place, text in enumerate(both)]


def texts(about: str) -> tuple[str, ...]:
    return (f"How do I bake {about}?", f"That is too short for {about}", f"And rolls of {about}?")


async def test_the_readmes_recipe(stack: LocalStack, interaction: Interaction) -> None:
    code, environment = recipe()
    asked = texts("rye")
    answers = run(stack, code + CHAT, environment, *asked)
    assert await found(interaction, "rye", 6) == [chat(asked, answers, "shop-bot")]


@pytest.mark.parametrize("name", list(SET_UPS))
async def test_a_growing_history_is_one_conversation(
    stack: LocalStack, interaction: Interaction, name: str
) -> None:
    module, options, environment, version = SET_UPS[name]
    asked = texts(f"spelt{len(name)}")
    set_up = SET_UP.format(module=module, options=options)
    answers = run(stack, set_up + CHAT, environment, *asked)
    assert await found(interaction, f"spelt{len(name)}", 6) == [chat(asked, answers, version)]


@pytest.mark.parametrize("name", ["official", "OpenLLMetry", "OpenInference"])
async def test_a_router_before_each_answer_is_told_apart(
    stack: LocalStack, interaction: Interaction, name: str
) -> None:
    module, options, environment, version = SET_UPS[name]
    asked = tuple(f"{one} ({len(name)})" for one in ("Where is my seat?", "A window", "Thanks"))
    set_up = SET_UP.format(module=module, options=options)
    printed = run(stack, set_up + ROUTED, environment, *asked)
    routes, answers = printed[::2], printed[1::2]
    conversations = await found(interaction, f"({len(name)})", 12)
    assert conversations[0] == chat(asked, answers, version)
    assert sorted(conversations[1:]) == sorted(
        chat((one,), [route], version) for one, route in zip(asked, routes, strict=True)
    )
