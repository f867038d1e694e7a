"""What evaluators say of answers, who is an evaluator, and which scale a person's number has."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime

from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id, target_name
from shared.language.opinions import Rating

# Who gave a score, as those who keep scores call them: OpenTelemetry's `gen_ai.evaluation.evaluator.type`,
# Langfuse's `source`, Phoenix's `annotator_kind`, MLflow's `source_type`.
_PEOPLE = {"human", "user", "end_user", "person", "annotation", "annotator", "reviewer"}
_EVALUATORS = {
    *("eval", "evaluator", "llm", "llm_judge", "llm_as_a_judge", "model", "ai_judge", "judge"),
    *("code", "deterministic", "rule", "heuristic", "custom"),
}
# Names under which applications keep what their users said, where nothing says who did.
_OF_USERS = {
    *("user_feedback", "user_score", "user_rating", "user_satisfaction", "human_feedback"),
    *("feedback", "thumb", "thumbs", "thumbs_up", "thumbs_up_down", "like", "liked"),
    *("stars", "star_rating", "csat", "nps"),
}
# Of these more is worse, so that a high figure, even a person's, is not praise.
_FAULTS = {
    *("toxicity", "toxic", "bias", "hallucination", "hallucinated", "harmfulness", "harmful"),
    *("pii", "contains_pii", "pii_leakage", "prompt_injection", "jailbreak", "refusal"),
    *("perplexity", "latency", "cost", "tokens"),
}
# What evaluators measure, by the names that their libraries give.
_METRICS = {
    *_FAULTS,
    *("faithfulness", "groundedness", "factuality"),
    *("relevance", "relevancy", "answer_relevance", "answer_relevancy", "context_relevance"),
    *("context_relevancy", "context_precision", "context_recall", "context_correctness"),
    *("correctness", "answer_correctness", "goal_accuracy", "accuracy", "exact_match"),
    *("coherence", "fluency", "conciseness", "helpfulness", "completeness"),
    *("similarity", "semantic_similarity", "bleu", "rouge", "bertscore"),
    *("json_validity", "readability", "sentiment"),
}
_SCALES = {
    **dict.fromkeys(
        ("thumb", "thumbs", "thumbs_up", "thumbs_up_down", "like", "liked"), (0.0, 1.0)
    ),
    **dict.fromkeys(("stars", "star_rating", "csat"), (1.0, 5.0)),
    "nps": (0.0, 10.0),
}
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OTHER = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Assessment:
    """What an evaluator said of an answer or of a whole conversation: a value on its own scale, a label, an
    explanation. Kept beside the conversation and shown with it; nothing is learnt from it."""

    tenant: str
    # What was measured, in the evaluator's own words.
    name: str
    value: float | None = None
    label: str = ""
    explanation: str = ""
    # Who judged, as the sender calls it.
    evaluator: str = ""
    assessment_id: str = ""
    completion_id: str = ""
    conversation_id: str = ""
    turn_id: str = ""
    # Whose conversation it is, if that is known.
    user_id: str = ""
    create_time: datetime | None = None

    @property
    def target(self) -> str:
        """Also the event's key: the conversation's name where it is known."""
        return target_name(self.tenant, self.conversation_id, self.completion_id)

    @property
    def digest(self) -> str:
        """The id of an assessment that was given none."""
        said = (self.name, repr(self.value), self.label, self.explanation, self.evaluator)
        return stable_id("assessment", self.target, self.turn_id, self.completion_id, *said)

    @property
    def event_id(self) -> str:
        return stable_id("assessment", self.tenant, self.assessment_id, self.digest)


def is_of_person(source: str, name: str) -> bool:
    """Whether a score is a person's opinion of the answer: by who gave it, otherwise by the score's name. If
    neither tells, an evaluator gave it. A measure of a fault, such as toxicity, is a figure no matter who
    gave it."""
    who = _words(source)
    if _words(name) in _FAULTS:
        return False
    if who in _PEOPLE:
        return True
    return who not in _EVALUATORS and _words(name) in _OF_USERS


def is_of_evaluator(source: str, name: str) -> bool:
    """Whether it surely is a figure, and no person's opinion of the answer: by who gave it, or, where that is
    not said, by the name of what is measured."""
    who, what = _words(source), _words(name)
    return who in _EVALUATORS or what in _FAULTS or (who not in _PEOPLE and what in _METRICS)


def rating_of(name: str, value: float, low: float | None, high: float | None, how: str) -> Rating:
    """A person's number on its scale: the given one, otherwise the one that its name says (thumbs, stars, csat,
    nps). InvalidArgument (MISSING_SCALE) if there is none, as 1 may be the best or the worst; `how` says what
    to send."""
    if low is not None and high is not None:
        return Rating(value, low, high)
    known = _SCALES.get(_words(name))
    if known is None or not math.isfinite(value) or not known[0] <= value <= known[1]:
        raise InvalidArgument(
            f"the scale of {name[:60]!r} is unknown: {value:g} may be a good or a bad score; {how}",
            reason="MISSING_SCALE",
            field="score",
        )
    return Rating(value, *known)


def _words(name: str) -> str:
    """`userFeedback`, `User feedback` and `user-feedback` are one name."""
    return _OTHER.sub("_", _HUMP.sub("_", name).lower()).strip("_")
