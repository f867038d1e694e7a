"""The demo's findings as one value, which the tables show and result.json holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from infra.demo.act_one import ActOne
from infra.demo.act_two import ActTwo, Course
from infra.demo.audit import Audit, Sendings
from infra.demo.compare import Compared
from infra.demo.counts import Tally
from infra.demo.measures import Rate, rate
from infra.demo.users import Exchange
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.verdicts import dissatisfaction_of
from shared.statistics.intervals import difference

# Phases in which a run or its rollout was going on while users chatted.
UNDER_CHANGE = ("training", "rollout", "measure")


@dataclass(frozen=True, slots=True)
class Satisfaction:
    """One version as some users met it. `broken`: what they saw, by the population's own rules; `mined`: what
    the feedback service made of their follow-ups."""

    words: str
    version: str
    broken: Rate
    mined: Rate


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of the users of one taste: how often answers broke it before and at the end. `kept`: how many
    of the answers at the end are by the weights that answered before."""

    taste: str
    before: Rate
    now: Rate
    kept: int = 0

    @property
    def words(self) -> str:
        """ "spared": they keep the answers that they had. "helped" or "hurt": the interval (95%) of the
        difference says so."""
        if not self.before.count or not self.now.count:
            return "not told"
        if self.kept == self.now.count:
            return "spared"
        low, high = self.change
        return "helped" if high < 0 else "hurt" if low > 0 else "no difference told"

    @property
    def change(self) -> tuple[float, float]:
        """The interval (95%) of the rate now minus the rate before."""
        return difference(self.now.interval, self.before.interval)


@dataclass(frozen=True)
class Report:
    one: ActOne | None
    two: ActTwo
    satisfaction: Sequence[Satisfaction]
    compared: Sequence[Compared]
    sent: Sendings
    audit: Audit
    tally: Tally
    dashboard_url: str
    elapsed_s: float
    effects: Sequence[Effect] = ()

    @property
    def problems(self) -> list[str]:
        """Why the demo failed; empty if the loop completed by itself and everything adds up."""
        found = [self.two.problem] if self.two.problem else []
        failed = [one for one in self.two.book.failures if one.phase in UNDER_CHANGE]
        if failed:
            found.append(f"{len(failed)} live requests failed during the change: {failed[0].words}")
        strangers = self.strange_versions
        if strangers:
            found.append(f"answers came from versions that nobody rolled out: {strangers}")
        if self.audit.wrong:
            found.append(f"{len(self.audit.wrong)} sums do not add up: {self.audit.wrong[0].words}")
        return found

    @property
    def strange_versions(self) -> list[str]:
        courses = (self.two, *self.two.followers)
        known = {self.two.first_champion, *(one.canary.version for one in courses if one.canary)}
        return sorted({version for _, version in self.two.book.calls} - known)

    def as_dict(self) -> dict[str, Any]:
        run, alarm, book = self.two.run, self.two.alarm, self.two.book
        return {
            "problems": self.problems,
            "effects": [_effect(one) for one in self.effects],
            "elapsed_s": round(self.elapsed_s, 1),
            "sent": asdict(self.sent),
            "act_one": asdict(self.one) if self.one else None,
            "live": {
                "calls": {f"{phase}/{version}": n for (phase, version), n in book.calls.items()},
                "failures": [asdict(one) for one in book.failures],
                "failed_in_rollout": self.two.failed_in_rollout,
            },
            "alarm": alarm.name if alarm else "",
            "run": run.name if run else "",
            "snapshot": _snapshot(self.two),
            "gate": [_gate_line(one) for one in run.gate] if run else [],
            "effects_at_the_gate": list(run.effects) if run else [],
            "only_groups": list(run.only_groups) if run else [],
            "verdict": self.two.verdict,
            "evidence": self.two.evidence,
            "followers": [_follower(one) for one in self.two.followers],
            "champion": {"before": self.two.first_champion, "now": self.two.champion},
            "satisfaction": [_satisfaction(one) for one in self.satisfaction],
            "compared": [_compared(one) for one in self.compared],
            "counts": [
                {"service": a, "stage": b, "outcome": c, "reason": d, "count": n}
                for (a, b, c, d), n in sorted(self.tally.counts.items())
            ],
            "checks": [asdict(one) | {"holds": one.holds} for one in self.audit.checks],
            "dashboard": self.dashboard_url,
        }


def satisfaction(act: ActTwo, mined: Iterable[Any]) -> list[Satisfaction]:
    """Before the shift, after it, and now: each for the version that served then."""
    judged = [(one, act.book.conversations.get(one.conversation_id, "")) for one in mined]
    rows = (
        ("before the shift", act.first_champion, ("calm",)),
        ("after the shift, old champion", act.first_champion, ("shift", "training", "rollout")),
        ("on the canary", act.canary.version if act.canary else "", ("rollout", "training")),
        ("measured at the end", act.champion, ("measure",)),
    )
    return [_row(act, judged, *row) for row in rows if row[1]]


def effects(act: ActTwo, tastes: Iterable[str]) -> list[Effect]:
    """Of each taste after the shift, those who lost first: as the first champion answered, and as the one that
    serves at the end does."""
    before = act.book.in_phase("shift", "training", "rollout")
    now = act.book.in_phase("measure")
    found = []
    for taste in tastes:
        old = [one for one in before if (one.taste, one.version) == (taste, act.first_champion)]
        new = [one for one in now if (one.taste, one.version) == (taste, act.champion)]
        kept = sum(_is_by_first(one, act) for one in new)
        found.append(Effect(taste, _broken(old), _broken(new), kept))
    order = ("hurt", "not told", "no difference told", "spared", "helped")
    return sorted(found, key=lambda one: order.index(one.words))


def _is_by_first(one: Exchange, act: ActTwo) -> bool:
    """By the weights of the first champion, as itself or as what a version gives some people."""
    return one.served == act.first_served if one.served else one.version == act.first_champion


def _broken(seen: Iterable[Exchange]) -> Rate:
    return rate((one.user, bool(one.broken)) for one in seen)


def _row(
    act: ActTwo,
    judged: Sequence[tuple[Any, str]],
    words: str,
    version: str,
    phases: tuple[str, ...],
) -> Satisfaction:
    seen = [one for one in act.book.in_phase(*phases) if one.version == version]
    said = [one for one, phase in judged if phase in phases and one.model_version == version]
    return Satisfaction(
        words,
        version,
        rate((one.user, bool(one.broken)) for one in seen),
        mined_rate(said),
    )


def mined_rate(mined: Iterable[Any]) -> Rate:
    """dissatisfied / (dissatisfied + satisfied); abstentions and NONE say nothing."""
    judged = ((one.user_id, _dissatisfaction(one.kind)) for one in mined if not one.abstained)
    return rate((user, bool(found)) for user, found in judged if found is not None)


def _dissatisfaction(kind: int) -> float | None:
    name = events_pb2.FollowUpKind.Name(events_pb2.FollowUpKind.ValueType(kind))
    return dissatisfaction_of(name.removeprefix("FOLLOW_UP_KIND_").lower())


def _follower(course: Course) -> dict[str, Any]:
    run = course.run
    return {
        "run": run.name if run else "",
        "wish": run.wish if run else "",
        "train_pairs": run.snapshot.train_pairs if run else 0,
        "effects_at_the_gate": list(run.effects) if run else [],
        "only_groups": list(run.only_groups) if run else [],
        "verdict": course.verdict,
        "evidence": course.evidence,
    }


def _snapshot(act: ActTwo) -> dict[str, Any]:
    if not act.run or not act.run.snapshot.digest:
        return {}
    snapshot = act.run.snapshot
    return {
        "digest": snapshot.digest,
        "train_pairs": snapshot.train_pairs,
        "held_out_pairs": snapshot.held_out_pairs,
        "train_users": snapshot.train_users,
        "held_out_users": snapshot.held_out_users,
        "pairs_by_source": dict(snapshot.pairs_by_source),
    }


def _gate_line(line: Any) -> dict[str, Any]:
    figure = line.estimate
    return {
        "name": figure.name,
        "group": figure.group,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "count": figure.count,
        "users": figure.users,
        "rule": line.rule,
        "threshold": line.threshold,
        "verdict": line.verdict,
        "words": line.words,
    }


def _effect(one: Effect) -> dict[str, Any]:
    rates = {"before": one.before.as_dict(), "now": one.now.as_dict()}
    low, high = one.change if one.before.count and one.now.count else (-1.0, 1.0)
    change = {"low": low, "high": high}
    return {"taste": one.taste, "words": one.words, "kept": one.kept, "change": change} | rates


def _satisfaction(one: Satisfaction) -> dict[str, Any]:
    rates = {"broken": one.broken.as_dict(), "mined": one.mined.as_dict()}
    return {"when": one.words, "version": one.version} | rates


def _compared(one: Compared) -> dict[str, Any]:
    return {
        "version": one.version,
        "role": one.role,
        "taste": one.taste,
        "broken": one.broken.as_dict(),
        "too_short": one.too_short.as_dict(),
        "mean_words": one.mean_words,
        "example": one.example,
    }
