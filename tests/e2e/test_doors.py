"""Every door through a real client of it, each ending with the turn read back from the store.

Real Kafka, gateway and interaction; the model that the instrumented application talks to is
scripted.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from infra.local.paths import REPO
from infra.local.stack import LocalStack
from shared.calls.client import metadata
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.language.identifiers import user_id_of
from tests.e2e.policy_server import PolicyServer
from tests.e2e.store import Store

_SERVICE = "trimtab.interaction.v1.InteractionService"
Said = list[tuple[int, str, str]]


class House:
    """A running stack, and a reader of its store."""

    def __init__(self, stack: LocalStack) -> None:
        self.env = stack.env()
        self.url = self.env["TRIMTAB_GATEWAY_URL"]
        ((self.key, self.tenant),) = json.loads(self.env["TRIMTAB_GATEWAY_KEYS"]).items()
        self.otlp = f"http://{self.env['TRIMTAB_HOST']}:{self.env['TRIMTAB_GATEWAY_OTLP_PORT']}"
        self.store = Store(self.env["TRIMTAB_INTERACTION_ADDRESS"], self.tenant)

    def run(self, *line: str, **more: str) -> subprocess.CompletedProcess[str]:
        found = {**os.environ, **self.env, "TRIMTAB_KEY": self.key, **more}
        return subprocess.run(
            line, env=found, cwd=REPO, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture(scope="module")
def house(doors_stack: LocalStack) -> Iterator[House]:
    made = House(doors_stack)
    yield made
    made.store.close()


def said(turns: list[common.Turn]) -> Said:
    return [
        (turn.index, common.Role.Name(turn.message.role), turn.message.parts[0].text.text)
        for turn in turns
    ]


# An application that knows nothing of Trimtab: the official client, instrumented, exporting.
APPLICATION = """
import sys
from openai import OpenAI
from opentelemetry import trace
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

url, protocol, user = sys.argv[1:]
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

resource = Resource.create({"service.name": "shop", "user.id": user})
tracers, loggers = TracerProvider(resource=resource), LoggerProvider(resource=resource)
tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
loggers.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter()))
OpenAIInstrumentor().instrument(tracer_provider=tracers, logger_provider=loggers)

client = OpenAI(base_url=url + "/v1", api_key="none")
asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How do I bake bread?"}]
with tracers.get_tracer("shop").start_as_current_span("conversation") as span:
    first = client.chat.completions.create(model="shop-bot", messages=asked)
    answer = first.choices[0].message.content
    asked += [{"role": "assistant", "content": answer}, {"role": "user", "content": "And rolls?"}]
    second = client.chat.completions.create(model="shop-bot", messages=asked)
    print(format(span.get_span_context().trace_id, "032x"))
print(answer)
print(second.choices[0].message.content)
tracers.shutdown()
loggers.shutdown()
"""
CURRENT = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only",
}
EVENTS = {**CURRENT, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "event_only"}
OLDER = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}


@pytest.mark.parametrize(
    ("protocol", "convention", "version"),
    [
        ("grpc", CURRENT, "shop-bot"),
        ("http", CURRENT, "shop-bot"),
        ("http", EVENTS, "shop-bot"),
        # One log record a message; the model's name is on the span only, which comes later.
        ("grpc", OLDER, ""),
    ],
)
def test_an_instrumented_application(
    house: House, protocol: str, convention: dict[str, str], version: str
) -> None:
    endpoint = house.otlp if protocol == "grpc" else house.url
    exporting = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {house.key}",
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        **convention,
    }
    user = f"ada-{protocol}-{'-'.join(convention.values())}"
    with PolicyServer() as model:
        ran = house.run(sys.executable, "-c", APPLICATION, model.url, protocol, user, **exporting)
    assert ran.returncode == 0, ran.stderr
    trace, first, second = ran.stdout.splitlines()
    turns = house.store.turns(trace, 4)
    assert said(turns) == [
        (0, "ROLE_USER", "How do I bake bread?"),
        (1, "ROLE_ASSISTANT", first),
        (2, "ROLE_USER", "And rolls?"),
        (3, "ROLE_ASSISTANT", second),
    ]
    assert {turn.user_id for turn in turns} == {user}
    assert {turn.channel for turn in turns} == {"otlp"}
    assert [turns[place].model_version for place in (1, 3)] == [version, version]
    assert turns[3].metadata["trace_id"] == trace


def test_grpc_by_reflection_alone(house: House) -> None:
    """As grpcurl does it: the server says what its messages look like."""
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(house.store.channel))
    method = pool.FindServiceByName(_SERVICE).methods_by_name["LogTurns"]
    request = message_factory.GetMessageClass(method.input_type)
    response = message_factory.GetMessageClass(method.output_type)
    assert request is not pb.LogTurnsRequest
    assert isinstance(method.input_type.file.serialized_pb, bytes)
    descriptor_pb2.FileDescriptorProto.FromString(method.input_type.file.serialized_pb)
    turn = {
        "conversation_id": "by-reflection",
        "user_id": "ada",
        "message": {"role": "ROLE_USER", "parts": [{"text": {"text": "Hello"}}]},
    }
    bad = {**turn, "message": {**turn["message"], "role": 77}}  # type: ignore[dict-item]
    call = house.store.channel.unary_unary(
        f"/{_SERVICE}/LogTurns",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    sent = json_format.ParseDict({"turns": [turn, bad]}, request())
    answer = json_format.MessageToDict(call(sent, metadata=tuple(metadata(house.tenant))))
    assert [name.rsplit("/", 1)[-1][:6] for name in answer["names"]] == ["000000"]
    (refusal,) = answer["refusals"]
    assert (refusal["position"], refusal["reason"]) == (1, "UNKNOWN_ROLE")
    assert said(house.store.turns("by-reflection", 1)) == [(0, "ROLE_USER", "Hello")]


def curl(house: House, path: str, *arguments: str) -> tuple[int, Any]:
    """(status, body)."""
    ran = house.run(
        *("curl", "-sS", "-w", "\n%{http_code}", f"{house.url}{path}"),
        *("-H", f"Authorization: Bearer {house.key}", "-H", "Content-Type: application/json"),
        *arguments,
    )
    assert ran.returncode == 0, ran.stderr
    body, status = ran.stdout.rsplit("\n", 1)
    return int(status), json.loads(body)


def test_rest_by_curl(house: House) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    document = {"conversations": [{"id": "by-curl", "user": "ada", "messages": messages}]}
    whole = {"accepted": 1, "turns": 2, "refused": []}
    for _ in range(2):
        assert curl(house, "/v1/conversations", "-d", json.dumps(document)) == (200, whole)
    turns = house.store.turns("by-curl", 2)
    assert said(turns) == [(0, "ROLE_USER", "Hi"), (1, "ROLE_ASSISTANT", "Hello")]
    thumb = {"conversation_id": "by-curl", "message": 1, "value": True, "mode": "replace"}
    status, answer = curl(house, "/v1/feedback", "-d", json.dumps(thumb))
    assert (status, len(answer["feedback_ids"])) == (200, 1)
    status, answer = curl(house, "/v1/feedback", "-d", '{"completion_id": "x"}')
    assert (status, answer["error"]["param"]) == (400, "value")


def test_otlp_without_a_key_is_refused(house: House) -> None:
    answer = httpx.post(f"{house.url}/v1/traces", json={"resourceSpans": []}, trust_env=False)
    assert answer.status_code == 401
    with grpc.insecure_channel(house.otlp.removeprefix("http://")) as opened:
        export: Any = opened.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        )
        with pytest.raises(grpc.RpcError) as refused:
            export(b"")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("through", ["grpc", "gateway"])
def test_a_file(house: House, tmp_path: Path, through: str) -> None:
    record = {
        "conversation_hash": f"wild-{through}",
        "model": "gpt-4",
        "timestamp": "2024-01-01T00:00:00+00:00",
        "conversation": [
            {"role": "user", "content": "Hi", "hashed_ip": "ab"},
            {"role": "assistant", "content": "Hello"},
        ],
    }
    pair = {"prompt": "Hi", "chosen": "Hello", "rejected": "What?"}
    file = tmp_path / "wild.jsonl.gz"
    lines = [json.dumps(record), "{broken", json.dumps(pair)]
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    for _ in range(2):
        ran = house.run(
            *(sys.executable, "-m", "services.cli.main", "import", str(file), "--json"),
            *("--through", through, "--refused", str(tmp_path / "refused.jsonl")),
            *("--state", str(tmp_path / "state.json")),
        )
        assert ran.returncode == 1, ran.stderr
        done = json.loads(ran.stdout)
        assert (done["records"], done["turns"], done["preferences"]) == (2, 2, 1)
    (refused,) = [json.loads(one) for one in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert (refused["line"], refused["reason"], refused["record"]) == (2, "UNREADABLE", "{broken")
    turns = house.store.turns(f"wild-{through}", 2)
    assert said(turns) == [(0, "ROLE_USER", "Hi"), (1, "ROLE_ASSISTANT", "Hello")]
    assert (turns[0].user_id, turns[1].model_version) == ("ab", "gpt-4")
    assert turns[1].create_time.ToJsonString() == "2024-01-01T00:00:00Z"


def chatgpt(name: str) -> dict[str, Any]:
    """One question, an answer, and the answer that took its place."""
    texts = {
        "u": ("r", "user", "Hi"),
        "a": ("u", "assistant", "One"),
        "b": ("u", "assistant", "Two"),
    }
    mapping = {
        node: {
            "parent": parent,
            "message": {
                "id": f"{name}-{node}",
                "author": {"role": role},
                "content": {"content_type": "text", "parts": [text]},
                "create_time": 1_700_000_000,
            },
        }
        for node, (parent, role, text) in texts.items()
    }
    return {"conversation_id": name, "mapping": mapping, "current_node": "b"}


def exports(folder: Path, through: str) -> None:
    """A folder as people have it: a tree in UTF-16, Parquet, a session in parts, scores, and no export."""
    tree = json.dumps([chatgpt(f"tree-{through}")], indent=1)
    (folder / "conversations.json").write_text(tree, encoding="utf-16")
    parts: list[Any] = [
        {
            "session_id": f"parts-{through}",
            "user": "auth0|5f7c",
            "messages": [
                {"role": "user", "content": said},
                {
                    "role": "assistant",
                    "content": f"<{said}",
                    "completion_id": f"{through}-{number}",
                },
            ],
        }
        for number, said in enumerate(("Continue.", "Continue."))
    ]
    target = {"observationId": f"{through}-1", "sessionId": f"parts-{through}", "userId": "ada"}
    parts.append({**target, "id": f"s-{through}", "name": "stars", "value": 1})
    parts.append({**target, "name": "toxicity", "value": 0.97, "source": "EVAL"})
    (folder / "parts.jsonl").write_text("\n".join(map(json.dumps, parts)))
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    wild = [{"conversation_hash": f"rows-{through}", "model": "gpt-4", "conversation": messages}]
    pq.write_table(pa.Table.from_pylist(wild), folder / "rows.parquet")
    (folder / "x.json").write_bytes(b"PK\x03\x04")


@pytest.mark.parametrize("through", ["grpc", "gateway"])
def test_a_folder_of_exports(house: House, tmp_path: Path, through: str) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    exports(folder, through)
    ran = house.run(
        *(sys.executable, "-m", "services.cli.main", "import", str(folder), "--json"),
        *("--through", through, "--refused", str(tmp_path / "refused.jsonl")),
        *("--state", str(tmp_path / "state.json"), "--user", "ada"),
    )
    done = json.loads(ran.stdout)
    assert list(done["unread"]) == ["x.json"], ran.stderr
    assert (done["refused"], done["read"], done["turns"]) == (0, 6, 9)
    assert (done["feedback"], done["assessments"]) == (1, 1)
    tree = house.store.turns(f"tree-{through}", 3)
    by_text = {turn.message.parts[0].text.text: turn for turn in tree}
    assert {text: turn.index for text, turn in by_text.items()} == {"Hi": 0, "One": 1, "Two": 1}
    assert by_text["Two"].signal == common.TURN_SIGNAL_REGENERATION
    assert by_text["Two"].replaces_turn_id == by_text["One"].turn_id
    assert by_text["One"].signal == common.TURN_SIGNAL_UNSPECIFIED
    assert {turn.user_id for turn in tree} == {"ada"}
    parts = house.store.turns(f"parts-{through}", 4)
    assert [turn.index for turn in parts] == [0, 1, 2, 3]
    (judged,) = house.store.assessments(f"parts-{through}", 1)
    assert (judged.name, judged.value, judged.completion_id) == ("toxicity", 0.97, f"{through}-1")
    assert {turn.user_id for turn in parts} == {user_id_of("auth0|5f7c")}
    rows = house.store.turns(f"rows-{through}", 2)
    assert said(rows) == [(0, "ROLE_USER", "Hi"), (1, "ROLE_ASSISTANT", "Hello")]
