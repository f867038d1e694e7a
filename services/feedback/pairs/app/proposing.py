"""How every pair comes in: it is screened, then stored. What is screened out is stored, too, with its
reason, but published nowhere: nobody learns from it.

Counts of stage "feedback.pairs" that end here: dropped: PROMPT_NO_WORDS, PROMPT_SMALL_TALK,
PROMPT_TOO_SHORT, PROMPT_REPETITION, FEEDBACK_IN_PROMPT, LANGUAGE_MISMATCH, TOXIC_ANSWER, NEAR_DUPLICATE.
The others wait for the reward model as REWARD, or are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from services.feedback.pairs.app.filters import duplicates, language, leakage, prompts
from services.feedback.pairs.domain import PAIRS, PairState, StoredPair
from services.feedback.pairs.ports import Moderator, PairWork
from shared.language.pairs import Pair
from shared.language.policies import is_same


@dataclass(frozen=True, slots=True)
class Screen:
    """What a pair must be to be learnt from. `duplicate_jaccard` above 1 lets duplicates pass,
    `leak_share` above 1 what repeats the feedback, 0 `least_words` requests of any length, `max_offence`
    above 1 offensive answers. The answer that is learnt from is looked at, not the one it is to replace:
    that it is offensive may be why."""

    least_words: int = 2
    leak_share: float = 0.5
    duplicate_jaccard: float = 0.8
    same_language: bool = True
    moderator: Moderator | None = None
    max_offence: float = 0.5

    def problem_of(self, pair: Pair) -> str:
        """Why the pair is not learnt from, whatever else there is; "" if it may be."""
        if self.least_words:
            before = pair.prompt[-2].text if len(pair.prompt) > 1 else ""
            if problem := prompts.problem_of(pair.request, before, self.least_words):
                return problem
        said = [message.text for message in pair.prompt if message.role == "user"]
        if any(leakage.leaks(pair.feedback_text, text, self.leak_share) for text in said):
            return "FEEDBACK_IN_PROMPT"
        return self._problem_of_answer(pair, pair.chosen.text)

    def with_fit_samples(self, pair: Pair) -> Pair:
        """The pair with those of its samples that might have been chosen, too: some objectives learn from
        them."""
        fit = [one for one in pair.samples if not self._problem_of_answer(pair, one.answer.text)]
        return replace(pair, samples=tuple(fit))

    def _problem_of_answer(self, pair: Pair, text: str) -> str:
        """Of one that is learnt from."""
        if self.same_language and language.mismatch(pair.request, text, pair.feedback_text):
            return "LANGUAGE_MISMATCH"
        return "TOXIC_ANSWER" if self._offends(text) else ""

    def _offends(self, text: str) -> bool:
        if self.moderator is None or self.max_offence > 1:
            return False
        return self.moderator.offence(text) >= self.max_offence

    def is_repeated(self, pair: Pair, others: list[Pair]) -> bool:
        """Whether one of its user's others of the same policy has nearly the same request and chosen
        answer. Another user who prefers the same is another opinion."""
        return any(
            is_same(pair.policy, other.policy)
            and duplicates.jaccard(pair.chosen.text, other.chosen.text) >= self.duplicate_jaccard
            and duplicates.jaccard(pair.request, other.request) >= self.duplicate_jaccard
            for other in others
        )


@dataclass(frozen=True, slots=True)
class Propose:
    screen: Screen = field(default_factory=Screen)

    def __call__(self, pair: Pair, work: PairWork, state: PairState = PairState.PROPOSED) -> bool:
        """Stores it and counts what became of it, except "taken"; returns False, and counts nothing, if it
        is known already."""
        keys = duplicates.band_keys(pair.chosen.text)
        problem = self.screen.problem_of(pair)
        if not problem and self.screen.is_repeated(pair, work.pairs.alike(pair, keys)):
            problem = "NEAR_DUPLICATE"
        if problem:
            added = work.pairs.add(StoredPair(pair, PairState.FILTERED, problem))
            outcome, reason = "dropped", problem
        else:
            added = work.pairs.add(StoredPair(self.screen.with_fit_samples(pair), state), keys)
            waits = state is PairState.PROPOSED
            outcome, reason = ("waiting", "REWARD") if waits else ("made", str(pair.source))
        if added:
            work.count(PAIRS, outcome, reason)
        return added
