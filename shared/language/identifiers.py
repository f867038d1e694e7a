"""Deterministic ids, and AIP-122 resource names."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from shared.language.errors import InvalidArgument

_SEGMENT = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


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
    return _id_of(said, "user")


def conversation_id_of(said: object) -> str:
    """As `user_id_of`, for a conversation."""
    return _id_of(said, "conversation")


def model_id_of(said: object) -> str:
    """A model's name as it can be an id, and still be read: `org/model` becomes `org:model`, and anything else
    that an id may not contain a hyphen."""
    text = _named(said).replace("/", ":")
    return "".join(one if _SEGMENT.fullmatch(one) else "-" for one in text)[:128]


def _id_of(said: object, kind: str) -> str:
    """As given if it can be an id, otherwise a hash."""
    text = _named(said)
    if not text or is_segment(text):
        return text
    encoded = text.encode("utf-8", "replace").decode()
    return f"{kind}-{stable_id(encoded)}"


def _named(said: object) -> str:
    """A text in Unicode's composed form without spaces around it, and a number by its digits. Anything else
    names nothing."""
    if isinstance(said, bool) or not isinstance(said, str | int | float):
        return ""
    return unicodedata.normalize("NFC", str(said)).strip()


def is_segment(value: str) -> bool:
    """Whether it can be a segment of a resource name."""
    return _SEGMENT.fullmatch(value) is not None


def check_segment(value: str, field: str) -> str:
    """`value` if it can be a segment of a resource name; otherwise raises InvalidArgument naming `field`."""
    if not _SEGMENT.fullmatch(value):
        raise InvalidArgument(
            f"{field} must be 1 to 128 letters, digits or ._:@- (got {value[:40]!r})",
            reason="INVALID_ID",
            field=field,
        )
    return value


def conversation_name(tenant: str, conversation_id: str) -> str:
    return f"tenants/{tenant}/conversations/{conversation_id}"


def turn_name(tenant: str, conversation_id: str, turn_id: str) -> str:
    return f"{conversation_name(tenant, conversation_id)}/turns/{turn_id}"


def user_name(tenant: str, user_id: str) -> str:
    """Also the owner of what a user said, for sealing."""
    return f"tenants/{tenant}/users/{user_id}"


def persona_name(tenant: str, user_id: str) -> str:
    return f"{user_name(tenant, user_id)}/persona"


def feedback_name(tenant: str, feedback_id: str) -> str:
    return f"tenants/{tenant}/feedback/{feedback_id}"


def parse_name(name: str, pattern: str) -> tuple[str, ...]:
    """The variable segments of `name`: parse_name("tenants/a/users/b", "tenants/*/users/*") = ("a", "b").

    Raises InvalidArgument when the name does not fit the pattern.
    """
    segments, wanted = name.split("/"), pattern.split("/")
    fits = len(segments) == len(wanted) and all(
        have == want or (want == "*" and _SEGMENT.fullmatch(have))
        for have, want in zip(segments, wanted, strict=False)
    )
    if not fits:
        raise InvalidArgument(
            f"{name[:80]!r} is not a name of the form {pattern}",
            reason="INVALID_NAME",
            field="name",
        )
    return tuple(have for have, want in zip(segments, wanted, strict=True) if want == "*")
