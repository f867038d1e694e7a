"""What applications call their users and conversations, and no id may be."""

from __future__ import annotations

COMPOSED, DECOMPOSED = "J\u00f6rg M\u00fcller", "Jo\u0308rg Mu\u0308ller"
NAMES = (
    "auth0|5f7c",
    "a+b@x.org",
    COMPOSED,
    DECOMPOSED,
    "thread/42",
    "tenants/acme/users/ada",
    "a b=c",
    '"quoted" \\',
    "100%25",
    "\u674e\u96f7",
    "9" * 200,
    "x" * 300,
)
