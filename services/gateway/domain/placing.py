"""The place of a call in a conversation, by what is known of earlier calls. CONVERSATIONS.md has the rules.

A call that fits nowhere begins a conversation of its own: two that are one teach nothing, one that is two
teaches something false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.gateway.domain.linking import Link, Question
from shared.language.policies import policy_of_version

REGENERATION, EDIT = "regeneration", "edit"
# If a named user sends their first message again within this time, it may ask for another answer. Later it
# begins a new conversation with the same words ("hi").
_AGAIN_WITHIN = timedelta(minutes=2)
# Likewise in a named conversation, where it does not begin a new one.
_AGAIN_IN_NAMED_WITHIN = timedelta(minutes=10)
# How far the clocks of those who report one call may be apart.
_AT_ONCE = timedelta(seconds=2)
# System messages that begin differently each time, this often in a row, tell nothing.
_VOICES_IN_A_ROW = 4


@dataclass(frozen=True, slots=True)
class CallPosition:
    """A call's position. Its messages from `told` on are new; message i has index i + `offset`."""

    # Empty for a new conversation.
    conversation_id: str = ""
    told: int = 0
    offset: int = 0
    signal: str = ""
    replaces_turn_id: str = ""
    # The turn of the last message, if this history was answered before.
    asked_turn_id: str = ""
    aside: bool = False
    # The same call was linked before.
    repeated: bool = False
    # The calls that gave the answers among its messages, by place, as far as they are known.
    answered: Mapping[int, Link] = field(default_factory=dict)


def position_of(question: Question, links: Sequence[Link], now: datetime) -> CallPosition:
    """`links`: what `Links.find` returned, oldest first."""
    if not links:
        return CallPosition(question.name)
    by_conversation: dict[str, list[Link]] = {}
    for link in links:
        by_conversation.setdefault(link.conversation_id, []).append(link)
    return _Placing(question, links, by_conversation, now).position()


@dataclass(frozen=True, slots=True)
class _Placing:
    question: Question
    links: Sequence[Link]
    by_conversation: Mapping[str, Sequence[Link]]
    now: datetime

    def position(self) -> CallPosition:
        found = (
            self._repeated()
            or self._late()
            or self._continued()
            or self._cut()
            or self._first_again()
        )
        return found or self._apart(0)

    # -- the ways in which a call can have a place, the surest first ---------------------------------

    def _repeated(self) -> CallPosition | None:
        """The same call, sent or reported again, or sent twice at the same moment."""
        question = self.question
        same = [
            link
            for link in self.links
            if link.history == question.history and self._is_the_same(link)
        ]
        if not same:
            return None
        return CallPosition(
            conversation_id=same[-1].conversation_id,
            told=question.newest,
            offset=same[-1].offset(question.count),
            aside=same[-1].aside,
            repeated=True,
        )

    def _late(self) -> CallPosition | None:
        """A call whose answer another call continued from, which was reported first."""
        answered = self.question.answered
        after = [link for link in self.links if answered and link.parent == answered]
        if not after or self._answering(answered):
            return None
        return self._within(after[-1], self.question.newest, after[-1].carried)

    def _continued(self) -> CallPosition | None:
        """By the longest prefix that ends with a remembered answer."""
        question = self.question
        for length in question.answers:
            found = [link for link in self.links if link.answered == question.chain[length]]
            if found:
                return self._after(*self._latest_end(self._choice(found), length))
        return None

    def _cut(self) -> CallPosition | None:
        """A call of somebody known that carries the end of its history, or none of it."""
        question = self.question
        if not question.known:
            return None
        before = [link for link in self.links if question.said and link.said == question.said]
        exact = self._exchanges()
        if not question.name:
            return self._after(exact[-1], question.newest) if exact else None
        named = self._named()
        if not named:
            return CallPosition(question.name, answered=self._answered(0))
        before = exact or before
        return self._after(before[-1], question.newest) if before else self._at_the_end(named)

    def _first_again(self) -> CallPosition | None:
        """The first message of a named user's unnamed conversation, directly after the same policy answered
        it: another policy is another assistant, with chats of its own."""
        question = self.question
        if question.name or question.answers or not question.known:
            return None
        theirs = [
            link
            for link in self.links
            if link.thread == question.thread and not link.aside and self._is_asked(link)
        ]
        again = [link for link in self._again() if self._is_asked(link)]
        if not again or not theirs or theirs[-1] != again[-1]:
            return None
        if self.now - again[-1].made > _AGAIN_WITHIN:
            return None
        return self._regeneration(again[-1])

    # -- after a known answer ----------------------------------------------------------------------------

    def _after(self, link: Link, told: int) -> CallPosition:
        """The first `told` messages end with this link's answer."""
        question = self.question
        again = [one for one in self._again() if self._is_later(one, link)]
        if again and self._stands(again[-1]):
            return self._regeneration(again[-1])
        if link.aside:
            return self._after_aside(link, told)
        if question.voice and question.voice != link.voice and self._voices_tell():
            return self._apart(question.newest, aside=True)
        later = [one for one in self._since(link) if self._is_later(one, link)]
        if not self._stands(link) or _was_not_told(later, link, told):
            return self._apart(max(told - 2, 0))
        place = self._within(link, told, told - 1)
        replaced = [one for one in later if self._follows_alike(one, link)]
        if not replaced or told != question.count - 1:
            return place
        nearest = min(one.place for one in replaced)
        last = [one for one in replaced if one.place == nearest][-1]
        return replace(place, signal=EDIT, replaces_turn_id=last.asked_turn_id)

    def _after_aside(self, link: Link, told: int) -> CallPosition:
        """Somebody went on from what looked like a side call: it was the answer after all, and is told again in
        the conversation that it followed. Its own conversation goes on if that one has gone on by itself."""
        question = self.question
        for length in question.answers:
            for before in self._answering(question.chain[length]):
                if length < told and not before.aside and self._ends_with(before):
                    return self._within(before, length, length - 1)
        return self._within(link, told, told - 1)

    def _latest_end(self, link: Link, length: int) -> tuple[Link, int]:
        """The link, or a later one: where an application cuts histories, what it carries is the end of one,
        even if the conversation began with the same words."""
        ends = [one for one in self._exchanges() if self._is_later(one, link)]
        if not ends or _carries_whole(self._of(link.conversation_id)):
            return link, length
        return ends[-1], self.question.newest

    def _choice(self, found: Sequence[Link]) -> Link:
        """Of links that gave the same answer after the same history: the one whose conversation was asked the
        same before, or one that nothing continued from yet, so that callers and chats that begin alike are told
        apart. Of both, what was used last."""
        plain = [link for link in found if not link.aside] or found
        plain = [link for link in plain if link.voice == self.question.voice] or plain
        again = {link.conversation_id for link in self._again()} if self.question.known else set()
        asked = [link for link in plain if link.conversation_id in again]
        waiting = [link for link in plain if self._ends_with(link)]
        if asked and waiting:
            last = self.by_conversation[asked[-1].conversation_id][-1]
            return waiting[-1] if waiting[-1].made > last.made else asked[-1]
        return (asked or waiting or plain)[-1]

    # -- without a known answer, in a named conversation -------------------------------------------------

    def _at_the_end(self, named: Sequence[Link]) -> CallPosition:
        """The call carries no answer that is known."""
        question = self.question
        alike = [link for link in named if link.voice == question.voice]
        strange = not alike and self._voices_tell()
        last = (alike or named)[-1]
        if not question.answers:
            return self._without_answers(named, last, strange=strange)
        # An application that changes answers, but carries as many as there were.
        fits = [link for link in named if link.place + 1 == question.newest]
        if fits and self._ends_with(fits[-1]) and not strange:
            return self._within(fits[-1], question.newest, question.newest - 1)
        return (
            self._apart(0) if strange else self._within(last, question.newest, question.newest - 1)
        )

    def _without_answers(self, named: Sequence[Link], last: Link, *, strange: bool) -> CallPosition:
        """A first message; or all that an application sends, which cuts everything else off."""
        question = self.question
        if again := self._first_of_named(named):
            return again
        others = [link for link in named if link.conversation_id != last.conversation_id]
        if any(link.voice != question.voice for link in others) and self._voices_tell():
            strange = True
        if strange and question.voice:
            return self._apart(0, aside=True)
        if strange and any(link.history == question.history for link in named):
            return self._apart(0)
        return self._apart(0) if _carries_whole(named) else self._within(last, 0, -1)

    def _first_of_named(self, named: Sequence[Link]) -> CallPosition | None:
        """The conversation's first message again: another answer to it is asked for."""
        again = [link for link in self._again() if link in named and not link.is_cut]
        if not again:
            return None
        last = self._of(again[-1].conversation_id)[-1]
        recent = self.now - again[-1].made <= _AGAIN_IN_NAMED_WITHIN
        if _carries_whole(named) or (last.place == again[-1].place and recent):
            return self._regeneration(again[-1])
        return None

    # -- positions ------------------------------------------------------------------------------------------

    def _within(self, link: Link, told: int, answer: int) -> CallPosition:
        """In the link's conversation; `answer` is the place of its answer among the call's messages."""
        offset = link.offset(answer)
        return CallPosition(link.conversation_id, told, offset, answered=self._answered(told))

    def _apart(self, told: int, *, aside: bool = False) -> CallPosition:
        """A new conversation, from message `told` on."""
        return CallPosition("", told, -told, aside=aside, answered=self._answered(told))

    def _regeneration(self, last: Link) -> CallPosition:
        count = self.question.count
        return CallPosition(
            conversation_id=last.conversation_id,
            told=count,
            offset=last.offset(count),
            signal=REGENERATION,
            replaces_turn_id=last.answer_turn_id,
            asked_turn_id=last.asked_turn_id,
        )

    # -- what is known ---------------------------------------------------------------------------------------

    def _is_the_same(self, link: Link) -> bool:
        """Whether it is the same request as the question, whose history is the same."""
        question = self.question
        alike = link.voice == question.voice
        if question.request_id and question.request_id == link.request_id:
            # A proxy's name for one request may stand for all the calls that were made because of it.
            return alike or bool(question.answered)
        # Through two doors, or by two instrumentations; some servers use an id for more than one completion.
        if question.completion_id and question.completion_id == link.completion_id:
            return abs(self.now - link.made) <= _AT_ONCE
        return alike and (question.repeated or link.is_open)

    def _answered(self, told: int) -> dict[int, Link]:
        """By place from `told` on."""
        found = dict[int, Link]()
        for length in self.question.answers:
            if length > told and (links := self._answering(self.question.chain[length])):
                found[length - 1] = links[-1]
        return found

    def _answering(self, chain: str) -> list[Link]:
        return [link for link in self.links if link.answered == chain]

    def _again(self) -> list[Link]:
        """Links that answered the same history under the same instructions, or the same end of it."""
        question = self.question
        return [
            link
            for link in self.links
            if not (link.aside or link.is_open)
            and link.voice == question.voice
            and (link.history == question.history or _asked_alike(link, question))
        ]

    def _is_asked(self, link: Link) -> bool:
        """Whether the policy that answered is the one that is asked now, as far as that is known."""
        answered = policy_of_version(link.model_version)
        return not (answered and self.question.policy) or answered == self.question.policy

    def _of(self, conversation_id: str) -> list[Link]:
        return [link for link in self.by_conversation.get(conversation_id, ()) if not link.aside]

    def _exchanges(self) -> list[Link]:
        """Calls that asked and answered as the last exchange that the question carries."""
        question = self.question
        return [
            link
            for link in self.links
            if question.led and (link.asked, link.said) == (question.led, question.said)
        ]

    def _named(self) -> list[Link]:
        """What was said under the question's name, wherever it was put."""
        name, thread = self.question.name, self.question.thread
        return [
            link
            for link in self.links
            if not link.aside and (link.conversation_id == name or link.thread == thread)
        ]

    def _since(self, link: Link) -> list[Link]:
        """What came after it in its conversation."""
        links = self.by_conversation[link.conversation_id]
        later = links[links.index(link) + 1 :]
        return [one for one in later if not (one.aside or one.is_open)]

    def _stands(self, link: Link) -> bool:
        """Whether nothing took its answer's place, or a place before it."""
        return not any(
            later.place <= link.place and later.answered != link.answered
            for later in self._since(link)
            if (later.history, later.made)
            != (link.history, link.made)  # another choice of its call
        )

    def _ends_with(self, link: Link) -> bool:
        return not self._since(link)

    def _is_later(self, one: Link, link: Link) -> bool:
        """Whether it stands further down in the same conversation."""
        return one.conversation_id == link.conversation_id and one.place > link.place

    def _follows_alike(self, one: Link, link: Link) -> bool:
        """Whether it, too, followed the link's answer with one message."""
        question = self.question
        if question.parent and one.parent == question.parent:
            return True
        return bool(question.follows and one.before and one.before == link.said == question.said)

    def _voices_tell(self) -> bool:
        """Not if each call begins its system messages differently."""
        thread = [link for link in self.links if link.thread == self.question.thread]
        voices = [link.voice for link in thread[-_VOICES_IN_A_ROW + 1 :]]
        return len({*voices, self.question.voice}) < _VOICES_IN_A_ROW


def _asked_alike(link: Link, question: Question) -> bool:
    """The same message after the same answer, of somebody known."""
    alike = link.asked == question.asked and link.before == question.said
    return bool(question.said and alike and link.conversation_id)


def _was_not_told(later: Sequence[Link], link: Link, told: int) -> bool:
    """Whether the call carries all that was said up to the link, and nothing of what came after it, which
    carried no history: that was none of the conversation's own."""
    carries_all = link.place == told - 1 and bool(later)
    return carries_all and all(one.is_cut and not one.before for one in later)


def _carries_whole(named: Sequence[Link]) -> bool:
    """Whether the application carries whole histories: what the newest call shows that shows it."""
    return next((not one.is_cut for one in reversed(named) if one.is_cut or one.parent), False)
