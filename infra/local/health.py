"""Health checks: each returns if the part is serving and raises NotReady if it is not."""

import logging

TIMEOUT_S = 2.0


class NotReady(Exception):
    """The part is not serving yet; the message says what was observed."""


def http(url: str) -> None:
    """Ready when `url` answers with status 200."""
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
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    from shared.log.kafka_clients import opened

    # While the broker is down, the client logs every refused connection as an error.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        client = opened(
            KafkaAdminClient,
            bootstrap_servers=address,
            request_timeout_ms=2000,
            bootstrap_timeout_ms=2000,
        )
        try:
            client.describe_cluster()
        finally:
            client.close()
    except (KafkaError, OSError, TimeoutError) as error:
        raise NotReady(f"{address}: {error}") from error


def postgresql(host: str, port: int, user: str) -> None:
    """Ready when the server answers a query."""
    import psycopg

    try:
        with psycopg.connect(
            host=host, port=port, user=user, dbname="postgres", connect_timeout=int(TIMEOUT_S)
        ) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        raise NotReady(f"{host}:{port}: {error}") from error
