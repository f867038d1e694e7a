"""What the feedback service speaks of, as plain values, and the rules that need nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from shared.language.identifiers import stable_id, turn_name
from shared.language.messages import Message


class Kind(StrEnum):
    """What a follow-up says of the answer before it (RLHI, arXiv 2509.25137, four kinds, and none).

    A follow-up that thanks and then asks something new is a NEW_REQUEST. A question about the
    answer that takes it as given ("and in winter?") is one too; "what do you mean?" is not.
    """

    NEW_REQUEST = "new_request"
    REATTEMPT_WITH_FEEDBACK = "reattempt_with_feedback"
    REATTEMPT_WITHOUT_FEEDBACK = "reattempt_without_feedback"
    POSITIVE = "positive"
    # Chit-chat and acknowledgements: says nothing of the answer.
    NONE = "none"


KINDS = tuple(Kind)
# How `pair_id` calls the source of a demonstration, edits included.
DEMONSTRATED = ""
DISSATISFIED = frozenset({Kind.REATTEMPT_WITH_FEEDBACK, Kind.REATTEMPT_WITHOUT_FEEDBACK})
SATISFIED = frozenset({Kind.POSITIVE, Kind.NEW_REQUEST})


class Step(StrEnum):
    """What a follow-up does about the answer, finer than its kind."""

    # Asks the same again, in these words or others.
    REPEAT = "repeat"
    # Says what was wrong or is wanted; or only that something was.
    CORRECTION_WITH_DETAIL = "correction_with_detail"
    CORRECTION_WITHOUT_DETAIL = "correction_without_detail"
    # Asks what was meant, or whether it is so.
    CLARIFICATION = "clarification"
    POSITIVE = "positive"
    # Gives the request up.
    ABANDONED = "abandoned"
    NONE = "none"


class Source(StrEnum):
    FOLLOW_UP = "follow_up"
    EXPLICIT = "explicit"
    # A follow-up that said nothing of the answer, by the label of one soon after it.
    HINDSIGHT = "hindsight"
    # A follow-up that the heads were not sure of, by the served model.
    JUDGE = "judge"


class PairSource(StrEnum):
    USER_GUIDED_REWRITE = "user_guided_rewrite"
    USER_BASED_REWARD = "user_based_reward"
    DEMONSTRATION = "demonstration"
    REGENERATION = "regeneration"
    EDIT = "edit"
    ARENA_VOTE = "arena_vote"
    IMPORT = "import"
    VERSION_CONTRAST = "version_contrast"


class PairState(StrEnum):
    PROPOSED = "proposed"
    KEPT = "kept"
    DROPPED = "dropped"
    # Never proposed: a filter found it unfit to learn from.
    FILTERED = "filtered"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message at its place. `channel` is where it came in."""

    tenant: str
    conversation_id: str
    index: int
    turn_id: str
    message: Message
    user_id: str
    create_time: datetime
    model_version: str = ""
    completion_id: str = ""
    channel: str = ""
    # What it says of the turn that it was made instead of: one of shared.language.messages.SIGNALS; and the id
    # of that turn.
    signal: str = ""
    replaces: str = ""
    # One of several answers to one call, and not the one that the conversation went on with.
    alternative: bool = False

    @property
    def role(self) -> str:
        return self.message.role

    @property
    def name(self) -> str:
        return turn_name(self.tenant, self.conversation_id, self.turn_id)


def follow_up_id(turn: Turn) -> str:
    """The feedback_id of what is mined of a user's turn."""
    return stable_id("follow-up", turn.tenant, turn.conversation_id, turn.turn_id)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A user's turn after an answer, with the messages that led to the answer (oldest first)."""

    feedback_id: str
    context: tuple[Message, ...]
    answer: Turn
    turn: Turn
    # Whether the request before the answer was made instead of another.
    edited: bool = False

    @property
    def request(self) -> str:
        """The last thing that the user said before the answer; empty if there is none."""
        said = [message.text for message in self.context if message.role == "user"]
        return said[-1] if said else ""


@dataclass(frozen=True, slots=True)
class Label:
    """A judgement. `probabilities` by Kind's value; sums to one. `head`: which one told the
    dissatisfaction of a follow-up."""

    kind: Kind
    probabilities: dict[str, float]
    dissatisfaction: float
    abstain_reason: str = ""
    head: str = ""

    @property
    def abstained(self) -> bool:
        return bool(self.abstain_reason)


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known beside the text. `similarity`: the cosine of the follow-up and the request;
    `gap_s`: from the answer to the follow-up; whether the answer, or the request, was made instead
    of another."""

    similarity: float
    gap_s: float
    regenerated: bool = False
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Mined:
    """One piece of feedback, mined or explicit, with what it is about."""

    feedback_id: str
    tenant: str
    user_id: str
    conversation_id: str
    source: Source
    label: Label
    create_time: datetime
    # Empty for a whole conversation.
    answer_turn_id: str = ""
    follow_up_turn_id: str = ""
    model_version: str = ""
    channel: str = ""
    context: tuple[Message, ...] = ()
    answer: Message | None = None
    follow_up: str = ""
    request_embedding: tuple[float, ...] = ()
    # Explicit feedback in whose place this stands.
    replaces: tuple[str, ...] = ()
    # None of explicit feedback.
    step: Step | None = None
    signals: Signals | None = None
    # The part of the answer that the user spoke of; empty for all of it.
    about: str = ""
    # Of hindsight: the feedback whose label it has.
    inherits_from: str = ""

    @property
    def request(self) -> str:
        said = [message.text for message in self.context if message.role == "user"]
        return said[-1] if said else ""

    @property
    def satisfaction(self) -> float:
        """From 0 to 1: of explicit feedback the normalised value; of a follow-up what is to be
        expected where praise is 1, dissatisfaction 0, and what says nothing of the answer a half."""
        content = 1.0 - self.label.dissatisfaction
        if self.source is Source.EXPLICIT:
            return content
        shares = {kind: self.label.probabilities.get(kind.value, 0.0) for kind in KINDS}
        rest = sum(share for kind, share in shares.items() if kind not in DISSATISFIED)
        praise = shares[Kind.POSITIVE] / rest if rest else 0.0
        return content * (1.0 + praise) / 2.0

    @property
    def prompt_key(self) -> str:
        """The same for what is about an answer to the same messages; "" for a whole conversation."""
        if not self.answer_turn_id or not self.context:
            return ""
        said = [part for m in self.context for part in (m.role, " ".join(m.text.lower().split()))]
        return stable_id("prompt", *said)


@dataclass(frozen=True, slots=True)
class Rating:
    value: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Explicit:
    """What was said outside the conversation. At most one of the values is set."""

    feedback_id: str
    tenant: str
    user_id: str
    create_time: datetime
    completion_id: str = ""
    conversation_id: str = ""
    turn_id: str = ""
    thumbs_up: bool | None = None
    rating: Rating | None = None
    category: str = ""
    demonstration: str = ""
    comment: str = ""
    # Instead of turn_id: the answer's place.
    index: int | None = None
    # Takes the place of the same user's feedback of this kind on the same target.
    replaces: bool = False

    @property
    def whole_conversation(self) -> bool:
        return not self.completion_id and not self.turn_id and self.index is None

    @property
    def value_kind(self) -> str:
        if self.thumbs_up is not None:
            return "thumb"
        if self.rating is not None:
            return "rating"
        return "demonstration" if self.demonstration else "category" if self.category else "comment"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a piece of explicit feedback stands among what its user said of the same target: which
    pieces it has replaced, or that a later one has replaced it already."""

    replaces: tuple[str, ...] = ()
    is_replaced: bool = False


class Basis(StrEnum):
    """Where a line of a persona comes from; the first outranks the others."""

    CORRECTED = "corrected"
    STATED = "stated"
    INFERRED = "inferred"


class PersonaChange(StrEnum):
    """Why a persona has a new version."""

    MODEL = "model"
    TEMPLATE = "template"
    CORRECTED = "corrected"
    FROZEN = "frozen"
    UNFROZEN = "unfrozen"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class PersonaLine:
    """`evidence`: names of the turns (or explicit feedback) that say so, newest first. Not `used`
    while that is too little."""

    text: str
    basis: Basis
    evidence: tuple[str, ...] = ()
    used: bool = True

    @property
    def line_id(self) -> str:
        return stable_id("persona-line", " ".join(self.text.lower().split()), length=8)


@dataclass(frozen=True, slots=True)
class Persona:
    """`lines` strongest first; `text` is made of the used ones. `struck`: lines that were corrected
    away, newest last."""

    tenant: str
    user_id: str
    text: str
    version: int
    evidence: tuple[str, ...]
    update_time: datetime
    lines: tuple[PersonaLine, ...] = ()
    struck: tuple[str, ...] = ()
    is_frozen: bool = False
    change: PersonaChange | None = None
    actor: str = ""

    @property
    def is_there(self) -> bool:
        """False while all its lines rest on too little: nobody is shown those alone."""
        return bool(self.text or self.is_frozen or self.struck)


@dataclass(frozen=True, slots=True)
class Pair:
    """`chosen` is held to be better than `rejected` as an answer to `prompt`."""

    pair_id: str
    tenant: str
    user_id: str
    conversation_id: str
    source: PairSource
    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    create_time: datetime
    persona: str = ""
    confidence: float = 0.0
    reward_margin: float = 0.0
    reward_model: str = ""
    model_version: str = ""
    evidence: tuple[str, ...] = ()
    feedback_text: str = ""

    @property
    def request(self) -> str:
        """The last thing that the user said before the answers; empty if there is none."""
        said = [message.text for message in self.prompt if message.role == "user"]
        return said[-1] if said else ""


@dataclass(frozen=True, slots=True)
class StoredPair:
    pair: Pair
    state: PairState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """What is kept of a user beside their turns."""

    turns: int = 0
    complaints: int = 0
    persona: Persona | None = field(default=None)
    # The number of the newest version, which goes on when a persona is deleted.
    persona_version: int = 0
    # When a persona was last deleted (Unix time): what was said up to then is not used again.
    persona_since: float = 0.0

    @property
    def persona_text(self) -> str:
        """Empty if nothing is known that may be used."""
        return self.persona.text if self.persona else ""


def pair_id(name: str, tenant: str, feedback_id: str) -> str:
    """Of the pair that is made of a piece of feedback; `name` is its source, or DEMONSTRATED."""
    return stable_id(*(("pair", name) if name else ("pair",)), tenant, feedback_id)


def bounded_context(messages: list[Message], most: int, characters: int) -> tuple[Message, ...]:
    """The newest messages, at most `most` and `characters` long; at least the newest one.

    Starts with a user's message if there is one, so that a chat template takes it.
    """
    kept: list[Message] = []
    for message in reversed(messages[-most:]):
        characters -= len(message.text)
        if kept and characters < 0:
            break
        kept.insert(0, message)
    while len(kept) > 1 and kept[0].role != "user":
        kept.pop(0)
    return tuple(kept)
