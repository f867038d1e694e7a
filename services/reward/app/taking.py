"""Takes in pairs, ratings and answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.reward.domain import Judgement, LoggedAnswer, Pair, Rating, TrainingRules
from services.reward.ports import Intake
from shared.language.errors import InvalidArgument
from shared.language.splits import is_held_out

PAIRS, RATINGS, ANSWERS = "reward.pairs", "reward.ratings", "reward.answers"
WAITS = "UNSCORED"


@dataclass(frozen=True, slots=True)
class TakeData:
    """Keeps pairs and ratings, and requests a training once there is enough new data."""

    rules: TrainingRules

    def pair(self, intake: Intake, tenant: str, pair: Pair) -> None:
        if not pair.better.text.strip() or not pair.worse.text.strip():
            raise InvalidArgument(
                "both answers of a pair need text", reason="NO_TEXT", field="chosen"
            )
        if not intake.add_pair(tenant, pair):
            intake.count(PAIRS, "abstained", "REPEATED")
            return
        self._kept(intake, tenant, PAIRS, "pair", pair.user_id)

    def rating(self, intake: Intake, tenant: str, rating: Rating) -> None:
        if not rating.answer.text.strip():
            intake.count(RATINGS, "made", "no_answer")
        elif not intake.add_rating(tenant, rating):
            intake.count(RATINGS, "abstained", "REPEATED")
        else:
            intake.drop_ratings(tenant, rating.replaces)
            self._kept(intake, tenant, RATINGS, "rating", rating.user_id)

    def judgement(self, intake: Intake, tenant: str, judgement: Judgement) -> None:
        """Only groups of people are learnt from it, also of those who are held out from all other learning."""
        if not judgement.answer.text.strip():
            intake.count(RATINGS, "made", "no_answer")
        elif not intake.add_judgement(tenant, judgement):
            intake.count(RATINGS, "abstained", "REPEATED")
        else:
            intake.count(RATINGS, "made", "judgement")

    def _kept(self, intake: Intake, tenant: str, stage: str, what: str, user_id: str) -> None:
        if is_held_out(tenant, user_id):
            intake.count(stage, "made", f"held_out_{what}")
            return
        intake.count(stage, "made", what)
        progress = intake.count_data(tenant, is_pair=stage == PAIRS)
        if self.rules.is_due(progress):
            intake.schedule_training(tenant, self.rules.trained(progress))


@dataclass(frozen=True, slots=True)
class TakeTurn:
    """Keeps each logged answer with its request until it is scored. `most_waiting` is a limit per tenant: a
    tenant without a model, or with more than can be scored, loses only its own answers."""

    most_waiting: int

    def user(self, intake: Intake, said: LoggedAnswer) -> None:
        intake.keep_request(said)
        intake.count(ANSWERS, "made", "request_kept")

    def other(self, intake: Intake) -> None:
        """A turn of a tool or the system."""
        intake.count(ANSWERS, "made", "context")

    def assistant(self, intake: Intake, logged: LoggedAnswer) -> None:
        if not logged.answer.text.strip():
            intake.count(ANSWERS, "abstained", "NO_TEXT")
        elif intake.backlog(logged.tenant) >= self.most_waiting:
            intake.count(ANSWERS, "dropped", "BACKLOG")
        else:
            request = intake.last_request(logged.tenant, logged.conversation_id)
            answer = replace(logged.answer, request=request)
            intake.add_answer(replace(logged, answer=answer))
            intake.count(ANSWERS, "waiting", WAITS)
