"""Deterministic ids, and AIP-122 resource names."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import cache

from shared.language.errors import InvalidArgument
from shared.language.json_text import tidied

_SEGMENT = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
MESSAGE_PREFIX, RESPONSE_PREFIX = ANSWER_PREFIXES = ("msg_trimtab_", "resp_trimtab_")
# Whole numbers below it are exact as floats.
_EXACT = 2**53


def stable_id(*parts: str, length: int = 24) -> str:
    """A hash of the parts: the same parts give the same id, on every machine.

    Parts are length-prefixed, so that ("a", "bc") and ("ab", "c") differ.
    """
    encoded = [part.encode() for part in parts]
    prefixed = b"".join([b"%d:%b" % (len(part), part) for part in encoded])
    return hashlib.sha256(prefixed).hexdigest()[:length]


def share_of(key: str, salt: str) -> float:
    """A number in [0, 1) that depends on `key` and `salt` alone: the sticky hash of rollouts and splits."""
    return int(stable_id(salt, key, length=13), 16) / 16**13


def user_id_of(said: object) -> str:
    """The id of the user whom an application calls `said`: the same at every door and in every command, so that
    the application's own name finds all that is kept of them. Empty if `said` names nobody."""
    return id_of(said, "user")


def conversation_id_of(said: object) -> str:
    """As `user_id_of`, for a conversation."""
    return id_of(said, "conversation")


def completion_id_of(said: object) -> str:
    """As `user_id_of`, for a completion. An answer's id at the gateway's other doors (`msg_trimtab_ID`,
    `resp_trimtab_ID`) names the completion, too; the prefixes tell it from ids of Anthropic and OpenAI."""
    while isinstance(said, str) and said.startswith(ANSWER_PREFIXES):
        said = said.partition("_trimtab_")[2]
    return id_of(said, "completion")


def model_id_of(said: object) -> str:
    """A model's name as it can be an id, and still be read: `org/model` becomes `org:model`, and anything else
    that an id may not contain a hyphen."""
    if _is_id(said):
        return str(said)
    text = _named(said).replace("/", ":")
    return "".join(one if _SEGMENT.fullmatch(one) else "-" for one in text)[:128]


def label_of(said: object) -> str:
    """An application's word for something, such as a category or a channel: read like a model's name if it is
    ASCII, otherwise a hash, as words of other scripts would all become hyphens."""
    is_readable = _is_id(said) or _named(said).isascii()
    return model_id_of(said) if is_readable else id_of(said, "label")


def id_of(said: object, kind: str) -> str:
    """The id of what an application calls `said`: as given if it can be an id, otherwise a hash, which begins
    with the kind: "turn", "feedback", "pair", or one of those above. An id's id is the id itself."""
    if _is_id(said):
        return str(said)
    text = _named(said)
    return text if not text or is_segment(text) else f"{kind}-{stable_id(text)}"


def _is_id(said: object) -> bool:
    """Whether nothing has to be changed, as for almost all."""
    return isinstance(said, str) and (not said or is_segment(said))


def _named(said: object) -> str:
    """A text in Unicode's composed form without spaces around it, and a number by its digits. Anything else
    names nothing."""
    if isinstance(said, bool) or not isinstance(said, str | int | float):
        return ""
    if isinstance(said, float) and said.is_integer() and abs(said) < _EXACT:
        said = int(said)  # JSON writers that know only one kind of number add ".0"
    return unicodedata.normalize("NFC", tidied(str(said))).strip()


def is_segment(value: str) -> bool:
    """Whether it can be a segment of a resource name."""
    return _SEGMENT.fullmatch(value) is not None


def check_segment(value: str, field: str) -> str:
    """`value` if it can be a segment of a resource name; otherwise raises InvalidArgument naming `field`. For
    what a service wrote; what an application says is never checked, but made an id by the rules above."""
    if not _SEGMENT.fullmatch(value):
        raise InvalidArgument(
            f"{field} must be 1 to 128 letters, digits or ._:@- (got {value[:40]!r})",
            reason="INVALID_ID",
            field=field,
        )
    return value


def checked_user(said: object) -> str:
    """As `user_id_of`. Raises InvalidArgument (MISSING_USER) if it names nobody."""
    if user_id := user_id_of(said):
        return user_id
    raise InvalidArgument(
        "user_id is required: give the application's own name of the user",
        reason="MISSING_USER",
        field="user_id",
    )


def conversation_name(tenant: str, conversation_id: str) -> str:
    return f"tenants/{tenant}/conversations/{conversation_id}"


def turn_name(tenant: str, conversation_id: str, turn_id: str) -> str:
    return f"{conversation_name(tenant, conversation_id)}/turns/{turn_id}"


def user_name(tenant: str, user_id: str) -> str:
    """Also the owner of what a user said, for sealing."""
    return f"tenants/{tenant}/users/{user_id}"


def persona_name(tenant: str, user_id: str) -> str:
    return f"{user_name(tenant, user_id)}/persona"


def membership_name(tenant: str, user_id: str) -> str:
    return f"{user_name(tenant, user_id)}/membership"


def feedback_name(tenant: str, feedback_id: str) -> str:
    return f"tenants/{tenant}/feedback/{feedback_id}"


def target_name(tenant: str, conversation_id: str, completion_id: str) -> str:
    """What an opinion or an assessment is about, and its event's key: the conversation where it is known."""
    if conversation_id:
        return conversation_name(tenant, conversation_id)
    return f"tenants/{tenant}/completions/{completion_id}"


def parse_name(name: str, pattern: str) -> tuple[str, ...]:
    """The variable segments of `name`: parse_name("tenants/a/users/b", "tenants/*/users/*") = ("a", "b").

    `**` stands for an application's own name, slashes and all, which is taken as it is written: nothing in it
    is decoded. Raises InvalidArgument when the name does not fit the pattern.
    """
    found = _matcher(pattern).fullmatch(name)
    if found is None:
        raise InvalidArgument(
            f"{name[:80]!r} is not a name of the form {pattern}",
            reason="INVALID_NAME",
            field="name",
        )
    return found.groups()


@cache
def _matcher(pattern: str) -> re.Pattern[str]:
    variables = {"*": f"({_SEGMENT.pattern})", "**": "(.+)"}
    segments = [variables.get(one) or re.escape(one) for one in pattern.split("/")]
    return re.compile("/".join(segments), re.DOTALL)
