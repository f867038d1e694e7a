"""What the Langfuse SDK calls: Basic auth, its path to OTLP, scores old and new, media; and metrics."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics

from services.gateway.adapters.authenticator import KeyAuthenticator
from services.gateway.app.answers import NewestAnswers
from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.app.ingesting import Ingesting
from services.gateway.app.langfuse_scores import LangfuseScores
from services.gateway.domain.telemetry import Span
from services.gateway.http_api import langfuse, otlp, problems
from services.gateway.http_api.admission import Admission
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.language.keys import fixed_keys
from shared.language.opinions import Category, Demonstration, Rating
from shared.language.times import now
from tests.unit.gateway.genai import END, KEY, SPAN, START, TRACE, MemorySink, a_linker, chat
from tests.unit.gateway.test_conventions import LANGFUSE
from tests.unit.gateway.test_otlp_http import PROTOBUF, export

BASIC = "Basic " + base64.b64encode(f"pk-any:{KEY}".encode()).decode()
GENERATION = Span(TRACE, SPAN, START, END, LANGFUSE)
OTHER_TRACE = "f" * 32


@pytest.fixture
async def http(sink: MemorySink) -> AsyncIterator[httpx.AsyncClient]:
    ingesting, answers = Ingesting(sink, Quotas(dict)), NewestAnswers()
    authenticator = KeyAuthenticator(KeyBook(now, fixed_keys({KEY: "acme"})), Quotas(dict))
    admission, application = Admission(authenticator, 100_000), FastAPI()
    telemetry = CustomerTelemetry(ingesting, a_linker(), answers=answers)
    otlp.add_routes(application, admission, telemetry)
    langfuse.add_routes(application, admission, LangfuseScores(ingesting, answers))
    problems.install(application)
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        client.headers["authorization"] = BASIC
        yield client


async def sent(http: httpx.AsyncClient, span: Span) -> None:
    body = export(span).SerializeToString()
    answer = await http.post("/api/public/otel/v1/traces", content=body, headers=PROTOBUF)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_the_secret_key_is_the_password(http: httpx.AsyncClient, sink: MemorySink) -> None:
    await sent(http, GENERATION)
    assert {turn.tenant for turn in sink.turns} == {"acme"}
    answer = await http.get("/api/public/projects")
    assert answer.json()["data"][0]["id"] == "acme"
    for wrong in ("Basic x", "Basic " + base64.b64encode(b"pk:nothing").decode(), ""):
        refused = await http.get("/api/public/projects", headers={"authorization": wrong})
        assert refused.status_code == 401


@pytest.mark.parametrize("path", ["/v1/metrics", "/api/public/otel/v1/metrics"])
async def test_metrics_are_answered_without_a_word(http: httpx.AsyncClient, path: str) -> None:
    body = metrics.ExportMetricsServiceRequest().SerializeToString()
    answer = await http.post(path, content=body, headers=PROTOBUF)
    assert (answer.status_code, answer.content) == (200, b"")
    answer = await http.post(path, json={"resourceMetrics": []})
    assert (answer.status_code, answer.json()) == (200, {})
    assert (await http.post(path, json={}, headers={"authorization": ""})).status_code == 401


def score(name: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"id": f"s-{name}", "traceId": TRACE, "name": name, "value": value, **more}


async def test_scores_find_their_answer_and_people_are_told_from_evaluators(
    http: httpx.AsyncClient, sink: MemorySink
) -> None:
    await sent(http, GENERATION)
    said = [
        score("user-feedback", 1.0, dataType="BOOLEAN", observationId=SPAN, comment="good"),
        score("stars", 1.0),
        score("helpful", 4, queueId="q"),
        score("user-feedback", 4.0, metadata={"min": 1, "max": 5}, observationId="0" * 16),
        score("user_rating", "meh", dataType="CATEGORICAL", traceId=None, sessionId="c"),
        score("output", "The sun shines", dataType="CORRECTION"),
        score("toxicity", 0.97, observationId=SPAN, comment="swears"),
        score("user-feedback", 3.0),
        score("user-feedback", 1, traceId=None),
        "what",
    ]
    answer = await http.post("/api/public/scores", json=said)
    assert answer.status_code == 207
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (6, 4)
    errors = [one["message"].partition(":")[0] for one in body["errors"]]
    assert errors == [
        "[2] MISSING_SCALE at score",
        "[7] MISSING_SCALE at score",
        "[8] MISSING_TARGET at traceId",
        "[9] INVALID_BODY at -",
    ]
    given = [(one.value, one.completion_id, one.conversation_id) for one in sink.feedback]
    assert given == [
        (True, SPAN, ""),
        (Rating(1, 1, 5), SPAN, ""),
        (Rating(4, 1, 5), SPAN, ""),  # of the span around it
        (Category("meh"), "", "c"),
        (Demonstration("The sun shines"), SPAN, ""),
    ]
    assert (sink.feedback[0].comment, sink.feedback[0].feedback_id) == ("good", "s-user-feedback")
    (toxicity,) = sink.assessments
    assert (toxicity.name, toxicity.value, toxicity.completion_id) == ("toxicity", 0.97, SPAN)
    assert toxicity.explanation == "swears"


async def test_an_answer_that_is_not_known_here_goes_by_its_ids(
    http: httpx.AsyncClient, sink: MemorySink
) -> None:
    said = [score("thumbs", 1, traceId=OTHER_TRACE), score("thumbs", 0, observationId=SPAN)]
    assert (await http.post("/api/public/scores", json=said)).json() == {"message": "Accepted"}
    targets = [(one.completion_id, one.conversation_id) for one in sink.feedback]
    assert targets == [("", OTHER_TRACE), (SPAN, "")]


async def test_an_answer_without_an_id_goes_by_its_place(
    http: httpx.AsyncClient, sink: MemorySink
) -> None:
    await sent(http, chat(gen_ai__response__id="", gen_ai__conversation__id="c"))
    answer = await http.post("/api/public/scores", json=score("thumbs", 1, observationId=SPAN))
    assert answer.json() == {"id": "s-thumbs"}
    (given,) = sink.feedback
    assert (given.conversation_id, given.index, given.completion_id) == ("c", 1, "")


async def test_one_score_that_is_refused_is_an_error(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/public/scores", json=score("user-feedback", 3))
    assert answer.status_code == 400
    assert "metadata with min and max" in answer.json()["error"]["message"]


async def test_older_sdks_may_send_scores_and_are_told_about_the_rest(
    http: httpx.AsyncClient, sink: MemorySink
) -> None:
    batch = [
        {"id": "e1", "type": "score-create", "body": score("thumbs", 1)},
        {"id": "e2", "type": "generation-create", "body": {"input": "Hi"}},
        {"id": "e3", "type": "score-create", "body": score("user-feedback", 4)},
    ]
    answer = await http.post("/api/public/ingestion", json={"batch": batch})
    assert answer.status_code == 207
    body = answer.json()
    assert body["successes"] == [{"id": "e1", "status": 201}]
    assert [one["id"] for one in body["errors"]] == ["e2", "e3"]
    assert "upgrade the SDK" in body["errors"][0]["message"]
    assert "MISSING_SCALE" in body["errors"][1]["message"]
    assert len(sink.feedback) == 1


async def test_media_need_no_upload(http: httpx.AsyncClient) -> None:
    asked = {"sha256Hash": "ab+/" * 11, "contentType": "image/png"}
    answer = await http.post("/api/public/media", json=asked)
    assert answer.json() == {"uploadUrl": None, "mediaId": "ab-_ab-_ab-_ab-_ab-_ab"}
