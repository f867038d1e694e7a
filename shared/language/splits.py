"""Which users are held out: one rule for every service, so that no model is judged by data it learnt from."""

from __future__ import annotations

from shared.language.identifiers import share_of

HELD_OUT_SHARE = 0.2


def is_held_out(tenant: str, user_id: str) -> bool:
    """Held-out users' data is used to judge policies and reward models, never to train any."""
    return share_of(f"{tenant}/{user_id}", "held-out") < HELD_OUT_SHARE


def fold(tenant: str, user_id: str, folds: int) -> int:
    """The cross-fitting fold of a user, in 0..folds-1; independent of `is_held_out`."""
    return int(share_of(f"{tenant}/{user_id}", "fold") * folds)
