"""Langfuse's scores become feedback and assessments of the answers that its spans brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from services.gateway.app.answers import AnswerPlace, NewestAnswers
from services.gateway.app.ingesting import Ingesting
from services.gateway.domain.langfuse_scores import read_score
from services.gateway.domain.refusals import Refused
from shared.language.assessments import Assessment
from shared.language.attempts import sorted_out
from shared.language.opinions import ExplicitFeedback


class LangfuseScores:
    def __init__(self, ingesting: Ingesting, answers: NewestAnswers) -> None:
        self._ingesting, self._answers = ingesting, answers

    async def log(self, tenant: str, scores: Sequence[object]) -> list[Refused]:
        """What was refused; Kafka holds the rest. Unavailable as Ingesting is."""
        found, refused = sorted_out(partial(self._read, tenant), scores)
        declined = await self._ingesting.log_opinions(tenant, found)
        return [
            *(Refused(place, one.reason, one.message, one.field) for place, one in refused),
            *declined,
        ]

    def _read(self, tenant: str, score: object) -> ExplicitFeedback | Assessment:
        said = read_score(score)
        ids = score if isinstance(score, dict) else {}
        trace, span = str(ids.get("traceId") or ""), str(ids.get("observationId") or "")
        answer = self._answers.find(tenant, trace, span) if trace else None
        return said if answer is None else _about(said, answer)


def _about(
    said: ExplicitFeedback | Assessment, answer: AnswerPlace
) -> ExplicitFeedback | Assessment:
    """On the answer by its completion's id, otherwise by its place in the conversation."""
    if answer.completion_id:
        return replace(said, completion_id=answer.completion_id, conversation_id="")
    said = replace(said, completion_id="", conversation_id=answer.conversation_id)
    return replace(said, index=answer.index) if isinstance(said, ExplicitFeedback) else said
