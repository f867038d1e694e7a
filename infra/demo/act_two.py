"""Act two, a live product: simulated users whose taste shifts, and a loop that nobody touches.

The act only sends traffic and watches. All it decides is how much traffic there is: full while the loop
learns from users (calm, shift, rollout, measuring), a trickle while a run needs the CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from functools import partial

from infra.demo.population import Population
from infra.demo.progress import DemoFailed, Seen
from infra.demo.stage import Stage
from infra.demo.users import Book, Crowd, Product
from infra.demo.watch import ENDED, Run, RunState, Watch, run_words
from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2

Look = Callable[[], Awaitable[Seen]]
# How long the last conversations may take to end.
DRAIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each wait may take, in seconds."""

    calm_s: float = 600.0
    alarm_s: float = 600.0
    run_starts_s: float = 660.0
    run_ends_s: float = 900.0
    rollout_s: float = 600.0
    followed_s: float = 60.0
    measure_s: float = 240.0

    def times(self, patience: float) -> Limits:
        return Limits(**{name: patience * value for name, value in asdict(self).items()})


@dataclass
class Course:
    """A run, and what became of its version. `verdict`: "promoted", "rolled back", "rejected by the gate", or
    empty if it did not reach one; then `evidence` says why."""

    run: Run | None = None
    canary: registry_pb2.ModelVersion | None = None
    verdict: str = ""
    evidence: str = ""


@dataclass
class ActTwo(Course):
    """How far the loop got by itself: the run that the alarm started, and those that `followed` it, each for
    what its version did not give those who asked for it."""

    first_champion: str = ""
    first_served: str = ""
    book: Book = field(default_factory=Book)
    alarm: events_pb2.Alarm | None = None
    followers: list[Course] = field(default_factory=list)
    champion: str = ""
    problem: str = ""

    @property
    def failed_in_rollout(self) -> int:
        return sum(1 for one in self.book.failures if one.phase == "rollout")


class Director:
    """Owns the crowd and goes through the phases."""

    def __init__(self, stage: Stage, population: Population, limits: Limits) -> None:
        self.act = ActTwo()
        self._stage, self._population, self._limits = stage, population, limits
        self._progress = stage.progress
        self._watch = Watch(stage.clients)
        self._product = Product(stage.gateway_url, stage.key, population, self.act.book)
        self._crowd = Crowd(population, self._product, self.act.book, stage.prefix)
        self._traffic: asyncio.Task[None] | None = None

    async def play(self) -> ActTwo:
        """The act as far as it got. If something it waits for does not happen, it ends with `problem` set."""
        self.act.first_champion = self.act.champion = await self._watch.champion()
        first = await self._watch.version(self.act.first_champion)
        self.act.first_served = first.served_name
        self._traffic = asyncio.create_task(self._crowd.run())
        try:
            await self._calm()
            await self._shift()
            await self._train()
            if not self.act.verdict:
                await self._roll_out(self.act)
            await self._follow()
            await self._measure()
        except DemoFailed as failed:
            self.act.problem = str(failed)
        finally:
            await self._leave()
        self.act.champion = await self._watch.champion()
        return self.act

    async def _calm(self) -> None:
        self._progress.headline("calm: users accept any answer")
        if not await self._until(
            "a reference of calm follow-ups", self._is_calm, self._limits.calm_s
        ):
            raise DemoFailed(
                "the drift detector did not see enough follow-ups to learn its reference"
            )

    async def _shift(self) -> None:
        self._crowd.pace.phase, self._crowd.pace.shifted = "shift", True
        names = ", ".join(taste.name for taste in self._population.shift.tastes)
        self._progress.headline(f"the users' taste shifts: {names}")
        if not await self._until("the drift alarm", self._has_alarm, self._limits.alarm_s):
            raise DemoFailed("drift raised no alarm")
        if alarm := self.act.alarm:
            self._progress.say(f"alarm: {alarm.current.value:.0%} dissatisfied; {alarm.guarantee}")

    async def _train(self) -> None:
        self._progress.headline("the alarm triggers a run")
        if not await self._until("the run", self._has_run, self._limits.run_starts_s):
            raise DemoFailed("the alarm did not start a run")
        await self._end(self.act)

    async def _end(self, course: Course) -> None:
        """Until its run has ended."""
        self._crowd.pace.phase = "training"
        self._crowd.pace.interval_s = self._population.traffic.training_interval_s
        ended = partial(self._run_ended, course)
        if not await self._until("the run's verdict", ended, self._limits.run_ends_s):
            raise DemoFailed("the run did not reach a verdict in time")
        self._crowd.pace.interval_s = 0.0
        self._judge_run(course)

    def _judge_run(self, course: Course) -> None:
        """A rejection by the gate is a verdict too: the former champion keeps serving. Any other end of the run
        ends the course."""
        run = course.run
        if run is None or run.state == retrain_pb2.RUN_STATE_SUCCEEDED:
            return
        if run.state != retrain_pb2.RUN_STATE_REJECTED:
            state = RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
            raise DemoFailed(f"{run.name} was {state}: {run.error or run.verdict}")
        course.verdict = "rejected by the gate"
        left = [one for one in run.gate if one.verdict != "pass"]
        course.evidence = "; ".join(f"{_figure(one.estimate)}: {one.words}" for one in left)
        self._progress.say(f"{run.name}: {run.verdict}, no rollout; {course.evidence}")

    async def _roll_out(self, course: Course) -> None:
        self._progress.headline("a canary among the users")
        self._crowd.pace.phase = "rollout"
        decided = partial(self._decided, course)
        if not await self._until("the rollout's verdict", decided, self._limits.rollout_s):
            raise DemoFailed("the rollout was not decided in time")
        self._progress.say(f"{course.verdict}: {course.evidence}")

    async def _follow(self) -> None:
        """The runs for those whom the version left without what they ask for, one after the other. What was
        reached before stays, whatever becomes of these."""
        what = "whom it left without what they ask for"
        if not await self._until(what, self._is_followed, self._limits.followed_s):
            return
        for name in self.act.run.followed_by if self.act.run else ():
            run = await self._watch.run(name)
            course = Course(run)
            self.act.followers.append(course)
            self._progress.headline(f"a run of its own for {run.wish}")
            try:
                await self._end(course)
                if not course.verdict:
                    await self._roll_out(course)
            except DemoFailed as failed:
                course.evidence = str(failed)
                self._progress.say(f"{name}: {failed}")

    async def _measure(self) -> None:
        self._progress.headline("measuring who serves now")
        self._crowd.pace.phase = "measure"
        self._crowd.pace.end = self._crowd.begun + self._population.traffic.measure_conversations
        if not await self._until("the last conversations", self._is_over, self._limits.measure_s):
            raise DemoFailed("the last conversations did not end in time")

    async def _is_calm(self) -> Seen:
        stream = await self._watch.stream(self.act.first_champion)
        state = stream.state if stream else "not seen yet"
        reference = f"{stream.observations} observations" if stream else "none"
        planned = self._population.shift_at
        done = self._crowd.finished >= planned and state in ("watching", "alarmed")
        return Seen(
            done, f"{self._traffic_words()} of {planned} planned; stream {state}, {reference}"
        )

    async def _has_alarm(self) -> Seen:
        self.act.alarm = await self._watch.alarm(self.act.first_champion)
        stream = await self._watch.stream(self.act.first_champion)
        evidence = f"{stream.log_e:.1f} of {stream.log_threshold:.1f}" if stream else "none"
        return Seen(self.act.alarm is not None, f"{self._traffic_words()}; log evidence {evidence}")

    async def _has_run(self) -> Seen:
        assert self.act.alarm is not None  # noqa: S101 - the previous phase ended with it
        self.act.run = await self._watch.drift_run(self.act.alarm)
        self._trickle_if_enough()
        kept = await self._watch.pairs("kept")
        words = run_words(self.act.run) if self.act.run else "no run yet"
        began = self.act.run is not None and self.act.run.state != retrain_pb2.RUN_STATE_QUEUED
        return Seen(began, f"{words}; {kept} pairs kept; {self._traffic_words()}")

    def _trickle_if_enough(self) -> None:
        """Pairs are made from complaints, by the same model on the same cores. More complaints than the run
        needs would only slow it down."""
        traffic = self._population.traffic
        complaints = sum(1 for one in self.act.book.in_phase("shift") if one.act == "complain")
        if complaints >= traffic.enough_complaints and not self._crowd.pace.interval_s:
            self._crowd.pace.interval_s = traffic.training_interval_s
            self._progress.say(
                f"{complaints} complaints are enough; from now on only a trickle of users"
            )

    async def _run_ended(self, course: Course) -> Seen:
        assert course.run is not None  # noqa: S101 - the previous phase ended with it
        course.run = await self._watch.run(course.run.name)
        if course.run.state == retrain_pb2.RUN_STATE_HAND_OVER:
            self._crowd.pace.phase, self._crowd.pace.interval_s = "rollout", 0.0
        done = course.run.state in ENDED
        return Seen(done, f"{run_words(course.run)}; {self._traffic_words()}")

    async def _is_followed(self) -> Seen:
        assert self.act.run is not None  # noqa: S101 - a phase before ended with it
        self.act.run = await self._watch.run(self.act.run.name)
        pending = self.act.run.may_be_followed
        return Seen(not pending, f"not asked yet; {self._traffic_words()}")

    async def _decided(self, course: Course) -> Seen:
        assert course.run is not None  # noqa: S101 - the previous phase ended with it
        course.canary = await self._watch.version(course.run.model_version)
        rollout = await self._watch.rollout()
        self.act.champion = rollout.champion.version
        states = {
            registry_pb2.VERSION_STATE_CHAMPION: "promoted",
            registry_pb2.VERSION_STATE_ROLLED_BACK: "rolled back",
            registry_pb2.VERSION_STATE_REJECTED: "rolled back",
        }
        course.verdict = states.get(course.canary.state, "")
        changes = course.canary.changes
        course.evidence = changes[-1].reason if changes else rollout.words
        return Seen(bool(course.verdict), f"{rollout.words}; {self._traffic_words()}")

    async def _is_over(self) -> Seen:
        over = self._traffic is not None and self._traffic.done()
        return Seen(over, self._traffic_words())

    async def _until(self, what: str, look: Look, limit_s: float) -> bool:
        async def checked() -> Seen:
            if self._traffic and self._traffic.done() and self._traffic.exception():
                raise DemoFailed(f"the simulated users failed: {self._traffic.exception()!r}")
            return await look()

        return await self._progress.until(what, checked, limit_s)

    def _traffic_words(self) -> str:
        book = self.act.book
        failed = f", {len(book.failures)} FAILED" if book.failures else ""
        return (
            f"{self._crowd.finished} conversations, {book.answered} answers{failed};"
            f" {book.recent_broken()}"
        )

    async def _leave(self) -> None:
        """Lets the crowd finish its conversations, so that its record is complete."""
        self._crowd.stop()
        if self._traffic:
            await asyncio.wait([self._traffic], timeout=DRAIN_S)
            self._traffic.cancel()
            await asyncio.gather(self._traffic, return_exceptions=True)
        await self._product.close()


def _figure(estimate: common_pb2.Estimate) -> str:
    return f"{estimate.name} of {estimate.group}" if estimate.group else estimate.name
