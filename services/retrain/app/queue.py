"""The queue for the one trainer, as the state has it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.retrain.domain.queue import before, in_turn
from services.retrain.domain.rules import Reading, whole_answers
from services.retrain.domain.runs import Run, State
from services.retrain.domain.selection import select
from services.retrain.ports import Session
from shared.language.policies import PolicyKey

# A queued run's progress, and what it waits for.
Words = tuple[float, str]
Wait = Callable[[Session, Run], Words | None]


@dataclass(frozen=True, slots=True)
class Line:
    """`current`: the run that has left the queue; None if none has. `next`: the run that may leave it then.
    `words`: by queued run. A run that was set aside is neither, and holds up its own policy alone."""

    current: Run | None
    next: Run | None
    words: Mapping[str, tuple[Run, Words]]


def line_of(session: Session, wait: Wait, aside: Collection[str] = ()) -> Line:
    """`wait` says what a queued run itself waits for, if anything: it holds up no other run meanwhile. `aside`:
    the runs that were set aside."""
    under_way = session.under_way()
    begun = [run for run in under_way if run.state != State.QUEUED]
    current = next((run for run in begun if run.run not in aside), None)
    queued = [run for run in under_way if run.state == State.QUEUED]
    words = {run.run: (run, found) for run in queued if (found := wait(session, run))}
    ready = [run for run in queued if run.run not in words]
    turns = in_turn(ready, session.served({run.key for run in ready}))
    others = [current] if current else []
    for run in turns:
        held = [one for one in begun if one.run in aside and one.key == run.key]
        words[run.run] = (run, (0.0, before(run, [*held, *others])))
        others.append(run)
    busy = {run.key for run in begun}
    free = (run for run in turns if run.key not in busy)
    return Line(current, next(free, None), words)


def placed(session: Session, run: Run) -> Run:
    """A run that is about to be queued, with its place in the words."""
    under_way = [*session.under_way(), run]
    ahead = [one for one in under_way if one.state != State.QUEUED]
    queued = [one for one in under_way if one.state == State.QUEUED and not one.pairs_until]
    for one in in_turn(queued, session.served({one.key for one in queued})):
        if one is run:
            return replace(run, progress_words=before(run, ahead))
        ahead.append(one)
    return run


@dataclass(frozen=True, slots=True)
class WaitForPairs:
    """What a run started by drift waits for: pairs to train on, for some time."""

    clock: Callable[[], datetime]
    # How many pairs there are, by policy, with the newest pair at that time.
    counted: dict[PolicyKey, tuple[int, int]] = field(default_factory=dict)
    reading: Reading = whole_answers

    def __call__(self, session: Session, run: Run) -> Words | None:
        if not run.pairs_until or self.clock() >= run.pairs_until:
            return None
        count, enough = self._pairs_to_train_on(session, run), run.rules.min_pairs
        if count >= enough:
            return None
        return count / enough, f"waiting for pairs: {count} of {enough}"

    def _pairs_to_train_on(self, session: Session, run: Run) -> int:
        """How many a snapshot made now would have. Counted again only once another pair has come."""
        newest = session.newest_pair(run.key)
        if self.counted.get(run.key, (-1, 0))[0] != newest:
            pairs = session.pairs(run.key, run.rules.pairs_looked_at)
            selection = select(pairs, {}, run.rules.caps, self.reading(run.rules))
            self.counted[run.key] = (newest, len(selection.train))
        return self.counted[run.key][1]
