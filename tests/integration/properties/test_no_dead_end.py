"""Whatever is done in whatever order: a champion serves, and a person can change that."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.registry.adapters.sql_session import SqlSession
from services.registry.domain.rollouts import Rollout
from services.registry.domain.versions import State, Version
from shared.language.errors import FailedPrecondition
from shared.state.sessions import SqlStore
from shared.state.stage import drain
from tests.unit.registry.test_registry import HOME, House

MADE = 4  # versions, of which the last is a control
NAMES = [f"assistant-v{n}" for n in range(MADE + 1)]
SERVABLE = {State.VERIFIED, State.CANARY, State.CHAMPION, State.RETIRED, State.ROLLED_BACK}
versions = st.sampled_from(NAMES)


class Commands(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.house = House()
        for n in range(1, MADE + 1):
            self.house.register(f"run-{n}", control=n == MADE)

    @rule(version=versions)
    def start(self, version: str) -> None:
        with suppress(FailedPrecondition):
            self.house.app.start_rollout("local", "", version, 0.5, "retrain", "passed")

    @rule(version=versions)
    def promote(self, version: str) -> None:
        """A person's word always holds, but for what was rejected and for controls."""
        found = self.house.app.get("local", version)
        if found.state in SERVABLE and not found.control:
            self.house.app.promote("local", version, "ann", "why not")
            assert self.house.app.rollout(HOME)[1].version == version
            return
        with suppress(FailedPrecondition):
            self.house.app.promote("local", version, "ann", "why not")
            raise AssertionError(f"{version} is {found.state} and was promoted")

    @rule()
    def roll_back(self) -> None:
        rollout, champion, canary = self.house.app.rollout(HOME)
        before = self._state()
        try:
            self.house.app.rollback(HOME, "", "ann", "it is worse")
        except FailedPrecondition as error:
            assert error.reason == "NOTHING_TO_ROLL_BACK"
            assert canary is None
            assert self._state() == before
        else:
            gone = canary or champion
            assert self.house.app.get("local", gone.version).state == State.ROLLED_BACK
            serving, again, _ = self.house.app.rollout(HOME)
            assert serving.revision == rollout.revision + 1
            # Never one that was itself rolled back.
            assert {one.version: one.state for one in before[-1]}[again.version] == (
                State.CHAMPION if canary else State.RETIRED
            )

    @rule(version=versions)
    def reject(self, version: str) -> None:
        with suppress(FailedPrecondition):
            self.house.app.reject("local", version, "retrain", "failed")

    @rule(canary_is=st.sampled_from(["better", "worse", "late", "not served"]))
    def judge(self, canary_is: str) -> None:
        _, champion, canary = self.house.app.rollout(HOME)
        if canary is None:
            return
        if canary_is == "late":
            self.house.time += timedelta(seconds=901)
            self.house.judge.tick()
        elif canary_is == "not served":
            self.house.fleet.failing = {canary.served_name}
            self.house.judge.check()
        else:
            self._hear(champion.version, canary.version, better=canary_is == "better")
        assert self.house.app.rollout(HOME)[2] is None

    def _hear(self, champion: str, canary: str, *, better: bool) -> None:
        kinds = ("REATTEMPT_WITH_FEEDBACK", "POSITIVE")
        self.house.time += timedelta(seconds=1)
        for n in range(20):
            user = f"{self.house.time.timestamp()}-{n}"
            self.house.say(f"{user}-a", champion, kinds[not better])
            self.house.say(f"{user}-b", canary, kinds[better])
        drain(self.house.stage)

    @invariant()
    def one_champion_serves(self) -> None:
        rollout, champion, canary = self.house.app.rollout(HOME)
        with SqlStore(self.house.database, SqlSession).read() as session:
            found = session.versions("local", "", None, 100)
        states = Counter(one.state for one in found)
        assert states[State.CHAMPION] == 1
        assert (champion.state, champion.control) == (State.CHAMPION, False)
        assert states[State.CANARY] == (canary is not None)
        assert rollout.champions[-1] == champion.version
        assert len(set(rollout.champions)) == len(rollout.champions)

    def _state(self) -> tuple[Rollout, list[Version]]:
        return self.house.app.rollout(HOME)[0], self.house.app.versions("local", "", None, 100)


TestCommands = Commands.TestCase
TestCommands.settings = settings(max_examples=30, stateful_step_count=25)
