"""Calls from pages of other origins (CORS): which browsers may make, and what those may read of the answers."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

# What an application, or OpenAI's client within it, reads. Browsers show it no other header.
EXPOSED = (
    "x-trimtab-policy",
    "x-trimtab-version",
    "x-trimtab-served-name",
    "x-trimtab-conversation",
    "x-trimtab-persona",
    "x-trimtab-note",
    "x-request-id",
    "x-should-retry",
    "retry-after",
    "retry-after-ms",
)


def opened_to(application: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Outermost, so that every answer says who may read it: errors, too. Without origins, `application` itself.

    Any method and header may be sent. OpenAI's clients add headers with each version, and what protects the
    gateway is the key. Never with credentials: a key is sent by the application, cookies mean nothing here.
    """
    if not origins:
        return application
    return CORSMiddleware(
        application,
        allow_origins=origins,
        allow_methods=("*",),
        allow_headers=("*",),
        allow_credentials=False,
        # Chrome asks before a public page calls a private network; not every public page may.
        allow_private_network="*" not in origins,
        expose_headers=EXPOSED,
    )
