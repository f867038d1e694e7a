"""Metadata of gRPC calls by which callers are known."""

# The tenant that a trusted internal caller acts for.
TENANT = "x-trimtab-tenant"
# The token by which internal callers are known.
INTERNAL = "x-trimtab-internal"
