"""The Peers port over the services' own APIs: one call per question, and its answer decoded."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from services.dashboard import codec
from services.dashboard.domain import (
    Alarm,
    Courses,
    Passage,
    Personas,
    Rollout,
    Run,
    Stream,
    Verdict,
)

Json = dict[str, Any]
# How many a tenant's chooser offers.
_MOST_POLICIES = 100


class Calls(Protocol):
    """JSON-shaped calls. Both methods raise TrimtabError."""

    async def call(self, part: str, method: str, request: Json) -> Json: ...

    async def answers(self, part: str) -> None: ...


class JsonPeers:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def passage(self, part: str) -> Passage:
        return codec.passage(await self._calls.call(part, "GetStageCounts", {}))

    async def answers(self, part: str) -> None:
        await self._calls.answers(part)

    async def policies(self) -> tuple[str, ...]:
        request = {"page_size": _MOST_POLICIES}
        return codec.policies(await self._calls.call("registry", "ListPolicies", request))

    async def rollout(self, policy: str) -> Rollout | None:
        request = {"policy": policy}
        return codec.rollout(await self._calls.call("registry", "GetRollout", request))

    async def verdict(self, version: str) -> Verdict:
        request = {"name": f"modelVersions/{version}"}
        found = (await self._calls.call("registry", "GetVersion", request))["version"]
        of_policy = {"policy": found.get("policy", "")}
        served = await self._calls.call("registry", "GetRollout", of_policy)
        return codec.verdict(found, served)

    async def runs(self, most: int, policy: str) -> tuple[Run, ...]:
        request = {"page_size": most, "policy": policy}
        answer = await self._calls.call("retrain", "ListRuns", request)
        return tuple(codec.run(one) for one in answer.get("runs", ()))

    async def report(self, run: str) -> str:
        answer = await self._calls.call("retrain", "GetReport", {"name": f"runs/{run}"})
        return str(answer["html"])

    async def alarms(self, most: int) -> tuple[Alarm, ...]:
        answer = await self._calls.call("drift", "ListAlarms", {"page_size": most})
        return tuple(codec.alarm(one) for one in answer.get("alarms", ()))

    async def streams(self) -> tuple[Stream, ...]:
        answer = await self._calls.call("drift", "ListStreams", {})
        return tuple(codec.stream(one) for one in answer.get("streams", ()))

    async def courses(self, since: datetime) -> Courses:
        start = since.isoformat().replace("+00:00", "Z")
        request = {"stream": "dissatisfaction", "start_time": start}
        return codec.courses(await self._calls.call("drift", "ListBuckets", request))

    async def personas(self, most: int) -> Personas:
        return codec.personas(
            await self._calls.call("feedback", "ListPersonas", {"page_size": most})
        )
