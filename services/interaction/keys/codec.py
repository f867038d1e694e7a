"""Keys as their tenants see them -> protobuf."""

from __future__ import annotations

from services.interaction.keys.domain import Key
from shared.contracts.keys import ROLES
from shared.gen.trimtab.interaction.v1 import keys_pb2 as pb


def encode_key(key: Key) -> pb.Key:
    encoded = pb.Key(
        name=key.name,
        display_name=key.display_name,
        prefix=key.prefix,
        roles=[ROLES[role] for role in sorted(key.roles)],
        rotated_from=key.rotated_from,
        rotated_to=key.rotated_to,
    )
    encoded.create_time.FromDatetime(key.create_time)
    for field in ("expire_time", "revoke_time", "last_use_time"):
        time = getattr(key, field)
        if time is not None:
            getattr(encoded, field).FromDatetime(time)
    return encoded
