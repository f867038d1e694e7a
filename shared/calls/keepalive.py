"""How soon a connection whose other end vanished without a word is noticed, by both ends."""

from __future__ import annotations

# A ping after 10 s of silence, and 10 s for its answer: within 20 s a call or a stream over such a connection
# fails with UNAVAILABLE, and whoever watches begins anew.
KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Of any ping, such as those by which gRPC measures the connection: while one is out, no other is sent, and
    # its own limit is a minute.
    ("grpc.http2.ping_timeout_ms", 10_000),
    # While a stream is open, however long nothing is said on it.
    ("grpc.http2.max_pings_without_data", 0),
)
