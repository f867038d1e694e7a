"""Preference pairs (RLHI, arXiv 2509.25137): user-guided rewrites, user-based rewards, the filter.

A rewrite is PROPOSED first: reward models learn from proposals (cross-fitted by user), policies
never. The filter keeps a proposal that the reward model prefers to the original. A pair by
user-based rewards was chosen by the reward model, so it is kept as made and never proposed: a
reward model must not learn from itself. The pair (answer, follow-up) stays as it was logged.

Counts of stage "feedback.pairs": made: the pair's source; abstained: USER_CAP, UNSURE_FEEDBACK,
NO_REQUEST, SAME_AS_ANSWER, NO_PERSONA, SMALL_MARGIN, REPLACED, FAILED, or the commonest problem
of the candidates (TOO_FEW_WORDS, REPETITION, LEAKS_FEEDBACK, IGNORES_FEEDBACK, ...);
dropped: REWARD_PREFERS_ORIGINAL, REPLACED, BACKLOG, and what proposing.py says; waiting: CANDIDATES, SAMPLES,
REWARD.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from services.feedback.mining.domain import BACKLOG, Mined
from services.feedback.mining.ports import ChatModel
from services.feedback.pairs.app.candidates import (
    rewrite_prompt,
    tokens_for,
    usable,
    wish_prompt,
)
from services.feedback.pairs.app.proposing import Propose
from services.feedback.pairs.domain import PAIRS, PairState, pair_id
from services.feedback.pairs.ports import Candidate, PairWork, RewardScorer
from services.feedback.personas.ports import PersonaReads
from shared.language.errors import FailedPrecondition, Unavailable
from shared.language.identifiers import turn_name
from shared.language.messages import Message, text_message, with_persona
from shared.language.pairs import Pair, PairSource, Sampled
from shared.language.verdicts import FollowUpKind

UNTRAINED = "REWARD_MODEL_UNTRAINED"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A pair, or why there is none."""

    pair: Pair | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProposeRewrite:
    """Asks for candidates and takes the one that the reward model prefers; while there is none, the
    first usable one (re-samples with the wish before rewrites)."""

    users: PersonaReads
    chat: ChatModel
    scorer: RewardScorer
    propose: Propose = field(default_factory=Propose)
    samples: int = 4
    temperature: float = 0.7
    max_tokens: int = 120

    def make(self, mined: Mined) -> Outcome:
        """The slow part; the pair is stored by `record`."""
        if mined.answer is None or not mined.context:
            return Outcome(None, "NO_REQUEST")
        texts = self._candidates(mined, mined.answer)
        kept, problems = usable(texts, mined.answer.text, mined.follow_up)
        if not kept:
            return Outcome(None, Counter(problems).most_common(1)[0][0])
        best = self._best(mined, kept)
        pair = pair_of(mined, PairSource.USER_GUIDED_REWRITE, best, mined.answer.text)
        others = [Sampled(text_message("assistant", text)) for text in kept if text != best]
        persona = self.users.user(mined.tenant, mined.user_id).persona_text
        return Outcome(replace(pair, persona=persona, samples=tuple(others)))

    def record(self, outcome: Outcome, work: PairWork) -> None:
        work.count(PAIRS, "waiting", "CANDIDATES", -1)
        if outcome.pair is None:
            work.count(PAIRS, "abstained", outcome.reason)
        elif not self.propose(outcome.pair, work):
            work.count(PAIRS, "abstained", "ALREADY_KNOWN")

    def _candidates(self, mined: Mined, answer: Message) -> list[str]:
        fresh = (self.samples + 1) // 2
        tokens = tokens_for(answer.text, mined.follow_up, self.max_tokens)
        asks = [
            (wish_prompt(mined.context, mined.follow_up), fresh),
            (rewrite_prompt(mined.context, answer, mined.follow_up), self.samples - fresh),
        ]
        return [
            text
            for messages, n in asks
            if n
            for text in self.chat.complete(messages, n, self.temperature, tokens)
        ]

    def _best(self, mined: Mined, kept: Sequence[str]) -> str:
        if len(kept) == 1:
            return kept[0]
        try:
            rewards = self.scorer.score(mined.tenant, _candidates_of(mined, kept)).rewards
        except (Unavailable, FailedPrecondition):
            return kept[0]  # the filter will ask again; nothing is kept unjudged
        return kept[max(range(len(kept)), key=lambda number: rewards[number])]


@dataclass(frozen=True, slots=True)
class SampleUnderPersona:
    """User-based rewards: N samples under the persona; best against worst."""

    users: PersonaReads
    chat: ChatModel
    scorer: RewardScorer
    propose: Propose = field(default_factory=Propose)
    samples: int = 4
    min_margin: float = 0.5
    temperature: float = 0.7
    max_tokens: int = 120

    def make(self, mined: Mined) -> Outcome:
        """Raises FailedPrecondition with reason UNTRAINED while no reward model is there."""
        persona = self.users.user(mined.tenant, mined.user_id).persona_text
        if not persona or not mined.context:
            return Outcome(None, "NO_PERSONA")
        if mined.answer is not None:  # is there a model? Asked before paying for samples.
            self.scorer.score(mined.tenant, _candidates_of(mined, [mined.answer.text]))
        prompt = with_persona(mined.context, persona)
        texts = self.chat.complete(prompt, self.samples, self.temperature, self.max_tokens)
        kept, problems = usable(texts, "", "")
        if len(kept) < 2:
            return Outcome(
                None, Counter(problems).most_common(1)[0][0] if problems else "REPETITION"
            )
        scores = self.scorer.score(mined.tenant, _candidates_of(mined, kept))
        best = max(range(len(kept)), key=lambda number: scores.rewards[number])
        worst = min(range(len(kept)), key=lambda number: scores.rewards[number])
        margin = scores.rewards[best] - scores.rewards[worst]
        if margin < self.min_margin:
            return Outcome(None, "SMALL_MARGIN")
        pair = pair_of(mined, PairSource.USER_BASED_REWARD, kept[best], kept[worst])
        others = tuple(
            Sampled(text_message("assistant", text), reward - scores.rewards[worst])
            for number, (text, reward) in enumerate(zip(kept, scores.rewards, strict=True))
            if number not in (best, worst)
        )
        pair = replace(pair, persona=persona, model_version="", feedback_text="", samples=others)
        return Outcome(judged(pair, margin, scores.reward_model))

    def record(self, outcome: Outcome, work: PairWork) -> None:
        work.count(PAIRS, "waiting", "SAMPLES", -1)
        if outcome.pair is None:
            work.count(PAIRS, "abstained", outcome.reason)
        elif not self.propose(outcome.pair, work, PairState.KEPT):
            work.count(PAIRS, "abstained", "ALREADY_KNOWN")


@dataclass(frozen=True, slots=True)
class FilterPairs:
    """The reward model's verdict on proposals (RLHI's quality filter)."""

    scorer: RewardScorer

    def judge(self, pairs: Sequence[Pair]) -> list[Pair]:
        """With margin, model and confidence. FailedPrecondition while there is no model."""
        judged_pairs: list[Pair] = []
        for tenant in sorted({pair.tenant for pair in pairs}):
            own = [pair for pair in pairs if pair.tenant == tenant]
            answers = [
                Candidate((*pair.prompt, answer), pair.user_id)
                for pair in own
                for answer in _answers(pair)
            ]
            scores = self.scorer.score(tenant, answers)
            rewards = iter(scores.rewards)
            for pair in own:
                chosen, rejected, *others = islice(rewards, len(_answers(pair)))
                samples = zip(pair.samples, others, strict=True)
                told = tuple(replace(one, reward_margin=got - rejected) for one, got in samples)
                settled = judged(pair, chosen - rejected, scores.reward_model)
                judged_pairs.append(replace(settled, samples=told))
        return judged_pairs

    def record(self, pairs: Sequence[Pair], work: PairWork) -> None:
        for pair in pairs:
            kept = pair.reward_margin > 0
            state = PairState.KEPT if kept else PairState.DROPPED
            reason = "" if kept else "REWARD_PREFERS_ORIGINAL"
            if not work.pairs.settle(pair, state, reason):
                continue
            work.count(PAIRS, "waiting", "REWARD", -1)
            if kept:
                work.count(PAIRS, "made", str(pair.source))
            else:
                work.count(PAIRS, "dropped", reason)


def _answers(pair: Pair) -> tuple[Message, ...]:
    return (pair.chosen, pair.rejected, *(one.answer for one in pair.samples))


def drop_backlog(tenant: str, place: int, most: int, work: PairWork) -> int:
    """Proposals beyond what may wait of a tenant, the oldest first; how many."""
    dropped = work.pairs.drop_up_to(tenant, place, most, BACKLOG)
    work.count(PAIRS, "waiting", "REWARD", -dropped)
    work.count(PAIRS, "dropped", BACKLOG, dropped)
    return dropped


def judged(pair: Pair, margin: float, reward_model: str) -> Pair:
    """Confidence by Bradley and Terry: sigmoid(margin)."""
    confidence = 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, margin))))
    return replace(pair, reward_margin=margin, reward_model=reward_model, confidence=confidence)


def pair_of(mined: Mined, source: PairSource, chosen: str, rejected: str) -> Pair:
    turns = [t for t in (mined.answer_turn_id, mined.follow_up_turn_id) if t]
    names = tuple(turn_name(mined.tenant, mined.conversation_id, turn) for turn in turns)
    return Pair(
        pair_id=pair_id(source.value, mined.tenant, mined.feedback_id),
        tenant=mined.tenant,
        user_id=mined.user_id,
        conversation_id=mined.conversation_id,
        source=source,
        prompt=mined.context,
        chosen=text_message("assistant", chosen),
        rejected=text_message("assistant", rejected),
        create_time=mined.create_time,
        confidence=mined.label.probabilities.get(FollowUpKind.REATTEMPT_WITH_FEEDBACK, 0.0),
        model_version=mined.model_version,
        policy=mined.policy,
        evidence=names,
        feedback_text=mined.follow_up,
    )


def _candidates_of(mined: Mined, texts: Sequence[str]) -> list[Candidate]:
    return [
        Candidate((*mined.context, text_message("assistant", text)), mined.user_id)
        for text in texts
    ]
