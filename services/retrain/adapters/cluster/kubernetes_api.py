"""The cluster's API by its Python client, which is imported only when somebody connects: it is large."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from services.retrain.adapters.cluster.api import Json, Kind
from shared.language.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)

# To connect, and to answer. A run that is cancelled waits no longer than this for an answer.
_TIMEOUTS_S = (1.0, 3.0)
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
T = TypeVar("T")


class KubernetesApi:
    """A Cluster (api.py). Nothing is retried here: whoever asks looks again."""

    def __init__(self, client: Any, namespace: str) -> None:
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        # Custom objects' paths are those of built-in kinds, too.
        self._objects: Any = CustomObjectsApi(client)
        self._core: Any = CoreV1Api(client)
        self._namespace = namespace

    @property
    def namespace(self) -> str:
        return self._namespace

    def create(self, kind: Kind, manifest: Mapping[str, Any]) -> None:
        self._ask(
            f"create {kind.resource}",
            self._objects.create_namespaced_custom_object,
            *self._all(kind),
            dict(manifest),
        )

    def get(self, kind: Kind, name: str) -> Json | None:
        try:
            found = self._ask(
                f"get {kind.resource}",
                self._objects.get_namespaced_custom_object,
                *self._all(kind),
                name,
            )
        except NotFound:
            return None
        return cast(Json, found)

    def having(self, kind: Kind, labels: str) -> list[Json]:
        found = self._ask(
            f"list {kind.resource}",
            self._objects.list_namespaced_custom_object,
            *self._all(kind),
            label_selector=labels,
        )
        return list(found["items"])

    def owner(self, config_map: str) -> Json | None:
        try:
            answer = self._ask(
                "get configmaps",
                self._core.read_namespaced_config_map,
                config_map,
                self._namespace,
                _preload_content=False,
            )
        except NotFound:
            return None
        uid = json.loads(answer.data)["metadata"]["uid"]
        return {"apiVersion": "v1", "kind": "ConfigMap", "name": config_map, "uid": uid}

    def delete(self, kind: Kind, name: str, uid: str) -> None:
        with suppress(NotFound, AlreadyExists):  # a conflict: the name is another object's now
            self._ask(
                f"delete {kind.resource}",
                self._objects.delete_namespaced_custom_object,
                *self._all(kind),
                name,
                body={"propagationPolicy": "Foreground", "preconditions": {"uid": uid}},
            )

    def pods(self, labels: str) -> list[Json]:
        answer = self._ask(
            "list pods",
            self._core.list_namespaced_pod,
            self._namespace,
            label_selector=labels,
            _preload_content=False,
        )
        found = json.loads(answer.data)["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def log(self, pod: str, container: str, lines: int) -> str:
        with suppress(NotFound, InvalidArgument):  # its container has not begun
            answer = self._ask(
                "get pods/log",
                self._core.read_namespaced_pod_log,
                pod,
                self._namespace,
                container=container,
                tail_lines=lines,
                _preload_content=False,
            )
            return bytes(answer.data).decode(errors="replace")
        return ""

    def _all(self, kind: Kind) -> tuple[str, str, str, str]:
        return kind.group, kind.version, self._namespace, kind.plural

    def _ask(self, what: str, call: Callable[..., T], *words: Any, **more: Any) -> T:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call(*words, **more, _request_timeout=_TIMEOUTS_S)
        except ApiException as error:
            self._refused(what, error)
        except (HTTPError, OSError) as error:
            raise Unavailable(
                f"the cluster's API does not answer ({type(error).__name__})"
            ) from error

    def _refused(self, what: str, error: Any) -> NoReturn:
        said, is_about_an_object = _said(error)
        match error.status:
            case 401:
                raise Unauthenticated(f"the cluster does not know the credentials: {said}")
            case 403:
                raise PermissionDenied(
                    f"the cluster does not let the trainer {what} in the namespace"
                    f" {self._namespace}: {said}"
                )
            case 404 if is_about_an_object:
                raise NotFound(said)
            case 404:
                raise FailedPrecondition(
                    f"the cluster cannot {what}: it has no such kind; install what defines it (TrainJob:"
                    " Kubeflow Trainer 2.0), or set TRIMTAB_RETRAIN_TRAINER=job",
                    reason="NO_SUCH_KIND",
                )
            case 409:
                raise AlreadyExists(said)
            case 400 | 422:
                raise InvalidArgument(f"the cluster refuses to {what}: {said}")
        raise Unavailable(f"the cluster's API answers with {error.status} {said}"[:300]) from error


def _said(error: Any) -> tuple[str, bool]:
    """Its message, and whether it is about an object that the cluster was asked for, not about a path that it
    does not have."""
    try:
        status = json.loads(error.body)
        return str(status["message"]), bool(status.get("details", {}).get("name"))
    except (KeyError, TypeError, ValueError):
        return str(error.reason), False


def connect(namespace: str = "", kubeconfig: str | None = None) -> KubernetesApi:
    """From within a pod, by its service account; otherwise by `kubeconfig` or KUBECONFIG. `namespace`: empty
    for the pod's own or the context's. Sends nothing. Raises FailedPrecondition if nobody says where a cluster
    is."""
    import kubernetes

    client: Any = kubernetes.client
    config: Any = kubernetes.config
    settings = client.Configuration()
    try:
        if kubeconfig is None and _OWN_NAMESPACE.exists():
            config.load_incluster_config(client_configuration=settings)
            own = _OWN_NAMESPACE.read_text().strip()
        else:
            config.load_kube_config(config_file=kubeconfig, client_configuration=settings)
            own = config.list_kube_config_contexts(kubeconfig)[1]["context"].get("namespace", "")
    except config.ConfigException as error:
        raise FailedPrecondition(
            f"there is no cluster here: {error}; run in a pod with a service account, or name a file in"
            " KUBECONFIG",
            reason="NO_CLUSTER",
        ) from error
    settings.retries = False
    return KubernetesApi(client.ApiClient(settings), namespace or own or "default")
