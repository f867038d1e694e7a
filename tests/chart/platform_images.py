"""What the small values need on a node that fetches no images.

Real images: those of our Dockerfile without torch, and one with PostgreSQL and Java for the trial's stand-ins.
What is gigabytes and here already comes from this machine, read-only: torch, vLLM, Kafka's jars, models.
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.kubernetes.image_builder import REGISTRY, ImageBuilder, debian
from infra.kubernetes.images import write_image, write_layer
from infra.kubernetes.real_cluster import RealCluster
from infra.kubernetes.tools import home
from infra.local.paths import REPO, parts_folder

TAG = "0.1.0"
_TRIAL = f"{REGISTRY}/trimtab/trial:1"
# The users that the chart runs them as; PostgreSQL looks its own up.
_USERS = b"postgresql:x:999:999::/tmp:/bin/sh\nkafka:x:1000:1000::/tmp:/bin/sh\n"


def cache() -> Path:
    """Beside the programs: an image is made again only where something of it has changed."""
    return home() / "images"


def built() -> list[Path]:
    """The archives; the first time takes a quarter of an hour."""
    builder = ImageBuilder(cache())
    return [_trial(), *(builder.build(target, TAG) for target in ("light", "serve"))]


def load_all(cluster: RealCluster) -> None:
    for archive in built():
        cluster.load_image(archive)


def _trial() -> Path:
    archive = cache() / "trial.tar"
    if not archive.exists():
        cache().mkdir(parents=True, exist_ok=True)
        system, users = cache() / "debian.tar", cache() / "users.tar"
        debian(system, "postgresql,openjdk-17-jre-headless")
        write_layer(users, {"etc/passwd": _passwd_of(system) + _USERS})
        unfinished = cache() / "trial.unfinished"
        environment = ["PATH=/usr/local/bin:/usr/bin:/bin"]
        write_image(unfinished, _TRIAL, [system, users], {"Env": environment})
        unfinished.rename(archive)
        system.unlink()
    return archive


def _passwd_of(system: Path) -> bytes:
    with tarfile.open(system) as tar:
        content = tar.extractfile("./etc/passwd")
        assert content is not None
        return content.read()


def write_values(file: Path, env: Mapping[str, str]) -> Path:
    """What has to be said besides values-small.yaml; every service is told `env`."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {
        "env": {"PYTHONPATH": "/environment"},
        "extra": _mounted("environment", packages),
    }
    trial = {"image": _TRIAL}
    jars = {
        "libs": "/kafka",
        "heapMb": 512,
        "extra": _mounted("kafka", parts_folder() / "kafka/libs"),
    }
    values: dict[str, Any] = {
        "image": {
            "registry": REGISTRY,
            "tag": TAG,
            "pullPolicy": "Never",
            "train": "trimtab-serve",
        },
        "kafka": {"trial": trial | jars},
        "postgresql": {"trial": trial},
        "models": {"volume": {"hostPath": {"path": str(parts_folder() / "models")}}},
        "vllm": {"image": f"{REGISTRY}/trimtab-serve:{TAG}", **environment},
        "settings": {"env": dict(env)},
        "evaluation": environment,
        "training": environment,
    }
    file.write_text(yaml.safe_dump(values))
    return file


def _mounted(name: str, folder: str | Path) -> dict[str, Any]:
    return {
        "tolerations": [],
        "volumes": [{"name": name, "hostPath": {"path": str(folder), "type": "Directory"}}],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}", "readOnly": True}],
    }


SMALL = REPO / "charts/trimtab/values-small.yaml"
