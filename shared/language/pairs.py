"""A preference pair: two answers to one prompt, one of which is judged better."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.language.identifiers import conversation_name, stable_id
from shared.language.messages import Message, content_of
from shared.language.policies import ASSISTANT, is_same
from shared.language.splits import is_held_out


class PairSource(StrEnum):
    """Where a pair comes from: the names of the protos' PairSource in lower case."""

    USER_GUIDED_REWRITE = "user_guided_rewrite"
    USER_BASED_REWARD = "user_based_reward"
    DEMONSTRATION = "demonstration"
    REGENERATION = "regeneration"
    EDIT = "edit"
    ARENA_VOTE = "arena_vote"
    IMPORT = "import"
    VERSION_CONTRAST = "version_contrast"


@dataclass(frozen=True, slots=True)
class Sampled:
    """Another answer to a pair's prompt. `reward_margin`: its reward minus that of the rejected answer, by the
    pair's `reward_model`; 0 until that has judged it."""

    answer: Message
    reward_margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """`chosen` is judged better than `rejected`, which `model_version` wrote. A pair that a person states has
    neither id nor tenant nor time until it is accepted."""

    user_id: str
    # None: an unknown source; such a pair is not accepted.
    source: PairSource | None
    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    pair_id: str = ""
    tenant: str = ""
    conversation_id: str = ""
    create_time: datetime | None = None
    persona: str = ""
    confidence: float = 0.0
    reward_margin: float = 0.0
    reward_model: str = ""
    model_version: str = ""
    evidence: tuple[str, ...] = ()
    feedback_text: str = ""
    # The policy whose answers are compared: no other is trained on the pair. Empty: assistant.
    policy: str = ""
    # The groups of people that the user was known to be in when it was made.
    groups: tuple[str, ...] = ()
    # Only of mined pairs.
    samples: tuple[Sampled, ...] = ()

    @property
    def time(self) -> datetime:
        """`create_time` of an accepted pair. Raises ValueError if it was not accepted."""
        if self.create_time is None:
            raise ValueError(f"pair {self.pair_id} has no time: it is not accepted yet")
        return self.create_time

    @property
    def user(self) -> str:
        """The user's id, unique across tenants."""
        return f"{self.tenant}/{self.user_id}"

    @property
    def is_held_out(self) -> bool:
        return is_held_out(self.tenant, self.user_id)

    @property
    def request(self) -> str:
        """The user's last message before the answers; empty if there is none."""
        said = [message.text for message in self.prompt if message.role == "user"]
        return said[-1] if said else ""

    @property
    def key(self) -> str:
        """The event's key."""
        if self.conversation_id:
            return conversation_name(self.tenant, self.conversation_id)
        # Keys stay readable on the topics, so they contain no user ids.
        return stable_id("preference", self.tenant, self.user_id)

    @property
    def digest(self) -> str:
        """The id of a stated pair that was given none."""
        messages = (*self.prompt, self.chosen, self.rejected)
        said = [text for message in messages for text in (message.role, content_of(message))]
        if not is_same(self.policy, ASSISTANT):
            said.append(f"policy {self.policy}")
        return stable_id(self.tenant, self.user_id, self.source or "", self.conversation_id, *said)

    @property
    def event_id(self) -> str:
        """The event's id, for a stated pair."""
        return stable_id("preference", self.tenant, self.pair_id, self.digest)
