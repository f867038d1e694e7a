"""What the services say of the loop: the champion's stream, alarms, runs, the rollout."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from infra.demo.clients import Clients
from shared.gen.trimtab.drift.v1 import drift_pb2
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.feedback.v1 import feedback_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2

STREAM = "dissatisfaction"
Run = retrain_pb2.Run
RunState = retrain_pb2.RunState
ENDED = (
    retrain_pb2.RUN_STATE_SUCCEEDED,
    retrain_pb2.RUN_STATE_REJECTED,
    retrain_pb2.RUN_STATE_FAILED,
    retrain_pb2.RUN_STATE_CANCELLED,
)


class Watch:
    """Asks; never acts. `since`: what began before is not this demo's."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._since = datetime.now(UTC)

    async def champion(self) -> str:
        return str((await self.rollout()).champion.version)

    async def played_before(self) -> bool:
        """Whether this stack's loop has closed, or begun to, before this demo."""
        champion = (await self.rollout()).champion
        if champion.adapter_path:
            return True
        request = drift_pb2.ListAlarmsRequest(
            filter=f'stream = "{STREAM}" AND model_version = "{champion.version}"', page_size=1
        )
        return bool((await self._clients.ask(self._clients.drift.ListAlarms, request)).alarms)

    async def rollout(self) -> registry_pb2.Rollout:
        registry = self._clients.registry
        response = await self._clients.ask(registry.GetRollout, registry_pb2.GetRolloutRequest())
        rollout: registry_pb2.Rollout = response.rollout
        return rollout

    async def version(self, name: str) -> registry_pb2.ModelVersion:
        request = registry_pb2.GetVersionRequest(name=f"modelVersions/{name}")
        response = await self._clients.ask(self._clients.registry.GetVersion, request)
        version: registry_pb2.ModelVersion = response.version
        return version

    async def stream(self, version: str) -> drift_pb2.Stream | None:
        """Everyone's dissatisfaction with a version; None until it is first seen."""
        request = drift_pb2.ListStreamsRequest()
        response = await self._clients.ask(self._clients.drift.ListStreams, request)
        streams: Sequence[drift_pb2.Stream] = response.streams
        wanted = (STREAM, "", version)
        found = (one for one in streams if (one.stream, one.group, one.model_version) == wanted)
        return next(found, None)

    async def alarm(self, version: str) -> events_pb2.Alarm | None:
        """The first alarm since the demo began on a version's dissatisfaction."""
        request = drift_pb2.ListAlarmsRequest(
            filter=f'stream = "{STREAM}" AND model_version = "{version}"', page_size=50
        )
        response = await self._clients.ask(self._clients.drift.ListAlarms, request)
        alarms = [one for one in response.alarms if self._is_ours(one)]
        return min(alarms, key=lambda one: one.create_time.ToDatetime(), default=None)

    async def drift_run(self, alarm: events_pb2.Alarm) -> Run | None:
        """The newest run that drift triggered at or after the alarm."""
        request = retrain_pb2.ListRunsRequest(page_size=50)
        response = await self._clients.ask(self._clients.retrain.ListRuns, request)
        runs = [
            one
            for one in response.runs
            if one.trigger.kind == retrain_pb2.TRIGGER_KIND_DRIFT and self._is_ours(one)
        ]
        named = [one for one in runs if alarm.name and alarm.name in one.trigger.detail]
        return max(named or runs, key=lambda one: one.create_time.ToDatetime(), default=None)

    async def run(self, name: str) -> Run:
        request = retrain_pb2.GetRunRequest(name=name)
        response = await self._clients.ask(self._clients.retrain.GetRun, request)
        run: Run = response.run
        return run

    async def pairs(self, state: str) -> int:
        request = feedback_pb2.ListPairsRequest(filter=f'state = "{state}"', page_size=1)
        return int((await self._clients.ask(self._clients.feedback.ListPairs, request)).total_size)

    async def mined(self, conversations: set[str]) -> list[Any]:
        """The judged follow-ups of these conversations, abstentions included."""
        request = feedback_pb2.ListFeedbackRequest(filter='source = "follow_up"')
        listing = self._clients.pages(self._clients.feedback.ListFeedback, request, "feedback")
        return [one async for one in listing if one.conversation_id in conversations]

    def _is_ours(self, item: Any) -> bool:
        made: datetime = item.create_time.ToDatetime(tzinfo=UTC)
        return made >= self._since


def run_words(run: Run) -> str:
    state = RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
    doing = f" {run.progress:.0%} {run.progress_words}".rstrip() if run.progress_words else ""
    return f"{run.name} is at {state}{doing}"
