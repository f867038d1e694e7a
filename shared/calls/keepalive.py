"""How soon each end notices that the other vanished without closing the connection."""

from __future__ import annotations

# A ping after 10 s of silence, and 10 s for its response: within 20 s a call or a stream over such a connection
# fails with UNAVAILABLE, and watchers reconnect.
KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # For every ping, including those by which gRPC measures the connection: while one is in flight no other is
    # sent, and its default limit is a minute.
    ("grpc.http2.ping_timeout_ms", 10_000),
    # While a stream is open, however long it is silent.
    ("grpc.http2.max_pings_without_data", 0),
)
