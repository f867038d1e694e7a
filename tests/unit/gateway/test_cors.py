"""What a browser asks before and finds in the answers to calls from a page of another origin."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.gateway.settings import GatewaySettings
from shared.configuration.settings import load
from shared.language.keys import Quota

APP = "https://app.example"
CHAT = {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}]}
EXPOSED = {
    "x-trimtab-policy",
    *("x-trimtab-version", "x-trimtab-served-name", "x-trimtab-conversation"),
    *("x-trimtab-persona", "x-trimtab-note"),
    *("x-request-id", "x-should-retry", "retry-after", "retry-after-ms"),
}
# What OpenAI's JavaScript client sends from a browser, besides our own.
SENT = [
    "authorization",
    "content-type",
    "idempotency-key",
    "openai-organization",
    "openai-project",
    "user-agent",
    "x-stainless-arch",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
    "x-trimtab-conversation",
    "x-trimtab-user",
]


@pytest.fixture
async def opened(start_gateway: Callable[..., Any], tmp_path: Path) -> AsyncIterator[Any]:
    """A gateway open to the pages of `APP`."""
    async with start_gateway(tmp_path / "spool", cors_origins=(APP,)) as gateway:
        yield gateway


async def preflight(gateway: Any, path: str, origin: str = APP, **more: str) -> httpx.Response:
    asked = {"origin": origin, "access-control-request-method": "POST", **more}
    del gateway.http.headers["authorization"]  # browsers send none
    answer: httpx.Response = await gateway.http.options(path, headers=asked)
    gateway.http.headers["authorization"] = "Bearer key-a"
    return answer


def of_cors(answer: httpx.Response) -> dict[str, str]:
    return {
        name.removeprefix("access-control-"): value
        for name, value in answer.headers.items()
        if name.startswith("access-control-")
    }


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/chat/completions", "/v1/chat/completions/chatcmpl-1", "/v1/models"),
        *("/v1/conversations", "/v1/feedback", "/v1/preferences", "/v1/traces", "/v1/logs"),
        *("/v1/conversations/c/waiting", "/v1/status"),
    ],
)
async def test_a_preflight_needs_no_key_and_allows_what_openais_client_sends(
    opened: Any, path: str
) -> None:
    asked = ",".join(SENT)
    answer = await preflight(opened, path, **{"access-control-request-headers": asked})
    assert answer.status_code == 200
    said = of_cors(answer)
    assert {"GET", "POST"} <= set(said.pop("allow-methods").split(", "))
    assert said == {"allow-origin": APP, "allow-headers": asked, "max-age": "600"}
    assert "Origin" in answer.headers["vary"]


async def test_another_origin_is_allowed_nothing(opened: Any) -> None:
    for origin in ("https://evil.example", f"{APP}.evil.example", "null"):
        answer = await preflight(opened, "/v1/chat/completions", origin)
        assert (answer.status_code, "allow-origin" in of_cors(answer)) == (400, False)
        headers = {"origin": origin}
        called = await opened.http.post("/v1/chat/completions", json=CHAT, headers=headers)
        assert "allow-origin" not in of_cors(called)


async def test_an_answer_exposes_every_header_of_ours(opened: Any) -> None:
    answer = await opened.http.post(
        "/v1/chat/completions", json={**CHAT, "seed": 7}, headers={"origin": APP}
    )
    said = of_cors(answer)
    exposed = set(said.pop("expose-headers").split(", "))
    assert exposed == EXPOSED
    assert {name for name in answer.headers if name.startswith("x-trimtab-")} <= exposed
    assert said == {"allow-origin": APP}
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["x-trimtab-version"] == "assistant-v0"


async def test_a_stream_carries_them(opened: Any) -> None:
    raw = await opened.openai.chat.completions.with_raw_response.create(
        **CHAT, stream=True, extra_headers={"origin": APP}
    )
    text = "".join([one.choices[0].delta.content or "" async for one in raw.parse()])
    assert text == "word word word "
    assert raw.headers["access-control-allow-origin"] == APP
    assert set(raw.headers["access-control-expose-headers"].split(", ")) == EXPOSED


async def test_errors_carry_them_so_that_an_app_can_read_them(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = httpx.ASGITransport(opened.application, raise_app_exceptions=False)
    key = {"authorization": "Bearer key-a"}
    http = httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=key)
    http.headers["origin"] = APP

    async def tried(status: int, method: str, path: str, **options: Any) -> None:
        answer = await http.request(method, path, **options)
        assert answer.status_code == status
        assert answer.json()["error"]["message"]
        said = of_cors(answer)
        assert set(said.pop("expose-headers").split(", ")) == EXPOSED
        assert said == {"allow-origin": APP}

    chats = "/v1/chat/completions"
    await tried(400, "POST", chats, json={})
    await tried(401, "POST", chats, json=CHAT, headers={"authorization": "Bearer wrong"})
    await tried(401, "GET", "/v1/models", headers={"authorization": ""})
    await tried(404, "POST", chats, json={**CHAT, "model": "gpt-x"})
    await tried(404, "GET", "/v1/nowhere")
    await tried(405, "DELETE", chats)
    await tried(413, "POST", chats, content=b"x" * 100_001)
    await opened.model.stop()
    await tried(503, "POST", chats, json=CHAT)
    monkeypatch.setattr(opened.rollouts, "status", lambda: 1 / 0)
    await tried(500, "GET", "/v1/status")
    await http.aclose()


async def test_when_to_come_back_can_be_read(opened: Any) -> None:
    opened.keys.put((), {"local": Quota(requests_per_s=0.2, burst_s=5)})
    headers = {"origin": APP}
    assert (await opened.http.get("/v1/models", headers=headers)).status_code == 200
    late = await opened.http.get("/v1/models", headers=headers)
    assert (late.status_code, late.headers["retry-after"]) == (429, "5")
    assert late.headers["access-control-allow-origin"] == APP
    # Asking whether one may ask counts against no quota.
    assert (await preflight(opened, "/v1/models")).status_code == 200


async def test_every_origin_is_never_allowed_credentials(
    start_gateway: Callable[..., Any], tmp_path: Path
) -> None:
    async with start_gateway(tmp_path / "spool", cors_origins=("*",)) as gateway:
        asked = await preflight(gateway, "/v1/models", "https://anybody.example")
        told = await gateway.http.get("/v1/models", headers={"origin": APP, "cookie": "a=b"})
        inside = {"access-control-request-private-network": "true"}
        assert (await preflight(gateway, "/v1/models", APP, **inside)).status_code == 400
    for answer in (asked, told):
        assert answer.status_code == 200
        assert of_cors(answer)["allow-origin"] == "*"
        assert "allow-credentials" not in of_cors(answer)


async def test_a_named_origin_may_call_a_private_network(opened: Any) -> None:
    inside = {"access-control-request-private-network": "true"}
    answer = await preflight(opened, "/v1/chat/completions", **inside)
    assert (answer.status_code, of_cors(answer)["allow-private-network"]) == (200, "true")


async def test_it_is_off_unless_asked_for(gateway: Any) -> None:
    assert type(gateway.application).__name__ == "FastAPI"
    asked = await preflight(gateway, "/v1/chat/completions")
    told = await gateway.http.post("/v1/chat/completions", json=CHAT, headers={"origin": APP})
    assert (asked.status_code, asked.json()["error"]["code"]) == (405, "unknown_route")
    assert told.status_code == 200
    assert of_cors(asked) == of_cors(told) == {}
    assert GatewaySettings().origins == ()


@pytest.mark.parametrize(
    ("said", "origins"),
    [
        ("*", ("*",)),
        (
            " https://a.example , http://localhost:3000,",
            ("https://a.example", "http://localhost:3000"),
        ),
        ("HTTPS://App.Example:443,http://a:80", ("https://app.example", "http://a")),
        ("https://a:80,http://a:443", ("https://a:80", "http://a:443")),
        ("http://[::1]:3000,tauri://localhost", ("http://[::1]:3000", "tauri://localhost")),
    ],
)
def test_origins_are_read_as_browsers_send_them(said: str, origins: tuple[str, ...]) -> None:
    assert GatewaySettings(cors_origins=said).origins == origins


@pytest.mark.parametrize(
    ("field", "said", "words"),
    [
        ("CORS_ORIGINS", "app.example", "'app.example' is not an origin"),
        ("CORS_ORIGINS", "localhost:3000", "'localhost:3000' is not an origin"),
        ("CORS_ORIGINS", "https://a.example/", "'https://a.example/' is not an origin"),
        ("CORS_ORIGINS", "https://a.example/chat", "'https://a.example/chat' is not an origin"),
        ("CORS_ORIGINS", "https://b,https://*.a.example", "'https://*.a.example' is not an origin"),
        ("CORS_ORIGINS", "null", "'null' is not an origin"),
        ("CORS_ORIGINS", "*,https://a.example", '"*" allows every origin'),
        ("USER_HEADERS", "x-user:", "'x-user:' is not a header's name"),
        ("USER_HEADERS", "x-user x-other", "'x-user x-other' is not a header's name"),
    ],
)
def test_a_wrong_one_stops_the_start_and_names_the_field(
    field: str,
    said: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"TRIMTAB_GATEWAY_{field}", said)
    with pytest.raises(SystemExit) as ended:
        load(GatewaySettings)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"settings: TRIMTAB_GATEWAY_{field}: ")
    assert words in printed
