"""Health checks: each returns quietly when the part serves and raises NotReady when it does not."""

TIMEOUT_S = 2.0


class NotReady(Exception):
    """The part does not serve yet; the message says what was seen."""


def http(url: str) -> None:
    """Ready when `url` answers 200."""
    import httpx

    try:
        status = httpx.get(url, timeout=TIMEOUT_S, trust_env=False).status_code
    except httpx.HTTPError as error:
        raise NotReady(f"{url}: {error}") from error
    if status != httpx.codes.OK:
        raise NotReady(f"{url}: HTTP {status}")


def grpc(address: str) -> None:
    """Ready when grpc.health.v1 says SERVING for the whole server."""
    from grpc import RpcError, insecure_channel
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with insecure_channel(address) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S
            )
        except RpcError as error:
            raise NotReady(f"{address}: {error}") from error
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise NotReady(f"{address}: {reply.status}")


def kafka(address: str) -> None:
    """Ready when the broker answers a metadata request."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    # While the broker is down the client would write each refused connection to stderr.
    client = AdminClient({"bootstrap.servers": address, "log_level": 2})
    try:
        client.list_topics(timeout=TIMEOUT_S)
    except KafkaException as error:
        raise NotReady(f"{address}: {error}") from error
