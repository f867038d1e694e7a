"""gRPC metadata that identifies callers."""

# The tenant that a trusted internal caller acts for.
TENANT = "x-trimtab-tenant"
# The token that identifies a trusted internal caller.
INTERNAL = "x-trimtab-internal"
