"""When slow work is asked for: personas, rewrites, samples under a persona. Every limit is here.

Counts of stage "feedback.personas" (taken = times a persona was asked for) and of stage
"feedback.pairs" (taken = candidates for a pair asked for) begin here and end in personas.py and
pairs.py: taken = made + abstained + dropped + waiting in both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.feedback.app.ports import Book, day_of
from services.feedback.domain import SATISFIED, Kind, Mined, Turn, User
from shared.language.identifiers import share_of, stable_id

PERSONAS, PAIRS = "feedback.personas", "feedback.pairs"
# Kinds of jobs, each with a worker of its own, so that complaints and live traffic go first.
PERSONA_OF_COMPLAINT, PERSONA_OF_TURNS = "persona.complaint", "persona.turns"
REWRITE_LIVE, REWRITE_BACKLOG, SAMPLE = "rewrite.live", "rewrite.backlog", "sample"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what users can cause. Per-user caps keep a few from steering the model."""

    persona_min_turns: int = 3
    pairs_per_user_day: int = 20
    ubr_per_user_day: int = 1
    # The share of satisfied exchanges that are sampled for user-based rewards.
    ubr_share: float = 0.1
    rewrite_min_probability: float = 0.6
    live_channels: tuple[str, ...] = ("openai",)


Beside = Callable[[Mined, Book], None]


def nothing(mined: Mined, book: Book) -> None:
    """Nothing is made beside what is asked for."""


def may_pair(limits: Limits, mined: Mined, book: Book) -> bool:
    """Takes one of the user's pairs of the day; counts if there is none left."""
    day = day_of(mined.create_time)
    if book.spend(mined.tenant, mined.user_id, "pairs", day, limits.pairs_per_user_day):
        return True
    book.count(PAIRS, "abstained", "USER_CAP")
    return False


@dataclass(frozen=True, slots=True)
class Requests:
    """`beside`: what is made at once of feedback on an answer, without asking a model."""

    limits: Limits
    beside: Beside = nothing

    def after_turn(self, turn: Turn, user: User, book: Book) -> None:
        """A persona at `persona_min_turns` own turns, and at each doubling."""
        if _doubled(user.turns, self.limits.persona_min_turns):
            self._ask_persona(
                PERSONA_OF_TURNS, turn.tenant, turn.user_id, f"turns-{user.turns}", book
            )

    def after_complaint(self, mined: Mined, book: Book) -> None:
        """A persona at the first complaint that says what to change, and at each doubling of them;
        a rewrite of the answer for each, while the user's day lasts."""
        user = book.note_complaint(mined.tenant, mined.user_id)
        if _doubled(user.complaints, 1):
            trigger = f"complaints-{user.complaints}"
            self._ask_persona(PERSONA_OF_COMPLAINT, mined.tenant, mined.user_id, trigger, book)
        if mined.answer is None or not mined.answer.text.strip() or not mined.request.strip():
            return
        book.count(PAIRS, "taken")
        sure = mined.label.probabilities.get(Kind.REATTEMPT_WITH_FEEDBACK, 1.0)
        if sure < self.limits.rewrite_min_probability:
            book.count(PAIRS, "abstained", "UNSURE_FEEDBACK")
        elif self.may_pair(mined, book):
            live = mined.channel in self.limits.live_channels
            kind = REWRITE_LIVE if live else REWRITE_BACKLOG
            job_id = stable_id("rewrite", mined.tenant, mined.feedback_id)
            book.enqueue(kind, job_id, {"feedback_id": mined.feedback_id})
            book.count(PAIRS, "waiting", "CANDIDATES")

    def after_feedback(self, mined: Mined, book: Book) -> None:
        """A share of the satisfied exchanges of users who have a persona is sampled."""
        self.beside(mined, book)
        if mined.label.kind not in SATISFIED or not mined.request.strip():
            return
        if share_of(mined.feedback_id, "ubr") >= self.limits.ubr_share:
            return
        day, most = day_of(mined.create_time), self.limits.ubr_per_user_day
        if not book.user(mined.tenant, mined.user_id).persona_text:
            return
        if not book.spend(mined.tenant, mined.user_id, "samples", day, most):
            return
        book.count(PAIRS, "taken")
        if self.may_pair(mined, book):
            job_id = stable_id("sample", mined.tenant, mined.feedback_id)
            book.enqueue(SAMPLE, job_id, {"feedback_id": mined.feedback_id})
            book.count(PAIRS, "waiting", "SAMPLES")

    def may_pair(self, mined: Mined, book: Book) -> bool:
        return may_pair(self.limits, mined, book)

    def _ask_persona(self, kind: str, tenant: str, user_id: str, trigger: str, book: Book) -> None:
        job_id = stable_id("persona", tenant, user_id, trigger)
        if book.enqueue(kind, job_id, {"tenant": tenant, "user_id": user_id}):
            book.count(PERSONAS, "taken")
            book.count(PERSONAS, "waiting", "TO_WRITE")


def _doubled(count: int, first: int) -> bool:
    """True at first, 2 first, 4 first, ..."""
    multiple, rest = divmod(count, first)
    return count > 0 and rest == 0 and multiple & (multiple - 1) == 0
