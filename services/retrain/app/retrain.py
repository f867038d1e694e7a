"""Use cases: start runs, by a person or a trigger, and look at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from services.retrain.domain.rules import Rules
from services.retrain.domain.runs import (
    Alarm,
    Run,
    State,
    Step,
    Trigger,
    TriggerKind,
)
from services.retrain.domain.selection import describe, select
from services.retrain.domain.snapshots import Selection, Snapshot
from services.retrain.ports import Session, Store
from shared.language.errors import NotFound
from shared.language.identifiers import stable_id


@dataclass(frozen=True, slots=True)
class Retrain:
    """What the API, the clocks and the alarms ask for."""

    store: Store
    rules: Rules
    clock: Callable[[], datetime]
    # The version that serves now, according to the registry. Raises Unavailable while the registry is
    # unavailable.
    champion: Callable[[], str]

    def start(self, request_id: str, detail: str) -> Run:
        with self.store.begin() as session:
            return self._begin(session, Trigger(TriggerKind.PERSON, detail), request_id)

    def on_schedule(self, fire: datetime, line: str) -> Run:
        """The same scheduled time makes only one run."""
        with self.store.begin() as session:
            trigger = Trigger(TriggerKind.SCHEDULE, f"{line} at {fire.isoformat()}")
            return self._begin(session, trigger, f"schedule/{fire.isoformat()}")

    def on_volume(self) -> Run | None:
        """Starts a run once enough pairs have come since the last snapshot."""
        if not self.rules.volume_pairs:
            return None
        with self.store.read() as session:
            if self._more_pairs(session) is None:
                return None
        with self.store.begin() as session:
            place = self._more_pairs(session)
            if place is None:
                return None
            trigger = Trigger(
                TriggerKind.VOLUME,
                f"{self.rules.volume_pairs} pairs or more since the last snapshot",
            )
            return self._begin(session, trigger, f"volume/{place}")

    def _more_pairs(self, session: Session) -> int | None:
        """The place after which enough pairs have come. None if there are too few, if a run is under way,
        or if a run for these pairs ended without a snapshot."""
        place, enough = session.pairs_seen(), self.rules.volume_pairs
        if session.under_way() or session.by_request(f"{TriggerKind.VOLUME}/volume/{place}"):
            return None
        return place if session.train_pairs_after(place, enough) >= enough else None

    def answers(self, alarm: Alarm) -> str:
        """Asks the registry. Returns why the alarm makes no run; empty if it may make one. Raises
        Unavailable while the registry is unavailable. Never call it within a transaction."""
        # Imported chats carry other models' names, and a canary is for the registry to judge.
        return "" if alarm.model_version == self.champion() else "NOT_THE_CHAMPION"

    def on_alarm(self, session: Session, alarm: Alarm) -> str:
        """Starts a run for an alarm about the champion, or returns why not. Alarms close together make one
        run."""
        if session.under_way():
            return "RUN_UNDER_WAY"
        now = self.clock()
        last = session.runs(None, 1)
        if last and (now - last[0].update_time).total_seconds() < self.rules.cooldown_s:
            return "COOLING_DOWN"
        detail = f"{alarm.name}: {alarm.stream} {alarm.direction} on {alarm.model_version}"
        until = now + timedelta(seconds=self.rules.pairs_wait_s)
        self._begin(session, Trigger(TriggerKind.DRIFT, detail), alarm.name, until)
        return ""

    def get(self, run: str) -> Run:
        with self.store.read() as session:
            return _known(session, run)

    def runs(self, below: int | None, most: int) -> list[Run]:
        with self.store.read() as session:
            return session.runs(below, most)

    def cancel(self, run: str) -> Run:
        """A queued run ends immediately, a running one within seconds. A run that has ended stays as it
        is.
        """
        with self.store.begin() as session:
            found = _known(session, run)
            if found.has_ended or found.is_cancelling:
                return found
            now = self.clock()
            if found.state == State.QUEUED:
                found = replace(found.entered(State.CANCELLED, now), verdict="cancelled")
            else:
                found = replace(found, is_cancelling=True, update_time=now)
            session.put(found)
            return found

    def preview(self, place_of: Callable[[str], str]) -> Snapshot:
        with self.store.read() as session:
            selection = selected(session, self.rules)
        snapshot = describe(selection, "")
        return replace(snapshot, uri=place_of(snapshot.digest))

    def _begin(
        self,
        session: Session,
        trigger: Trigger,
        request_id: str,
        pairs_until: datetime | None = None,
    ) -> Run:
        key = request_id and f"{trigger.kind.value}/{request_id}"
        if key and (found := session.by_request(key)):
            return found
        now, number = self.clock(), session.next_number()
        run = Run(
            run=f"run-{number}-{stable_id(key or now.isoformat(), length=6)}",
            number=number,
            state=State.QUEUED,
            trigger=trigger,
            thresholds=self.rules.thresholds,
            plan=asdict(self.rules.plan),
            create_time=now,
            update_time=now,
            request_id=key,
            pairs_until=pairs_until,
            steps=(Step(State.QUEUED, 0, now),),
        )
        session.put(run)
        return run


def selected(session: Session, rules: Rules) -> Selection:
    """What a snapshot would contain if it were made now."""
    pairs = session.pairs(rules.pairs_looked_at)
    return select(pairs, session.personas({pair.user for pair in pairs}), rules.caps)


def _known(session: Session, run: str) -> Run:
    found = session.run(run)
    if found is None:
        raise NotFound(f"there is no run {run!r}", field="name")
    return found
