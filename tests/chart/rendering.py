"""What the chart makes of values, without a cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.kubernetes.tools import tool
from infra.local.paths import REPO

CHART = REPO / "charts" / "trimtab"
FILES = ("small", "one-gpu", "several-nodes")
Manifest = dict[str, Any]


class Refused(Exception):
    """Helm did not render; the message is what it said."""


def values_file(name: str) -> Path:
    return CHART / f"values-{name}.yaml"


def helm_template(name: str, *words: str) -> str:
    """Raises Refused."""
    command = [str(tool("helm")), "template", "trial", str(CHART), "--namespace", "trials"]
    options = ["--kube-version", "1.36.3", "-f", str(values_file(name)), *words]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


@cache
def rendered(name: str, *sets: str) -> tuple[Manifest, ...]:
    """All objects, hooks and tests included."""
    words = [word for one in sets for word in ("--set", one)]
    return tuple(one for one in yaml.safe_load_all(helm_template(name, *words)) if one)


def of_kind(objects: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    """By name, without the release's."""
    return {
        one["metadata"]["name"].removeprefix("trial-trimtab-"): one
        for one in objects
        if one["kind"] == kind
    }


def training_job(objects: tuple[Manifest, ...]) -> Manifest:
    found: Manifest = yaml.safe_load(
        of_kind(objects, "ConfigMap")["training-job"]["data"]["job.yaml"]
    )
    return found


def pod_specs(objects: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """Every pod that comes of them, with the kind and name of what makes it."""
    jobs = [training_job(objects)] if "training-job" in of_kind(objects, "ConfigMap") else []
    for one in (*objects, *jobs):
        where = f"{one['kind']} {one['metadata'].get('name', 'training')}"
        if one["kind"] == "Pod":
            yield where, one["spec"]
        elif one["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield where, one["spec"]["template"]["spec"]


def environment_of(objects: tuple[Manifest, ...], service: str) -> dict[str, str]:
    """The variables of a service's container; one from a Secret has the value <secret>/<key>."""
    container = of_kind(objects, "Deployment")[service]["spec"]["template"]["spec"]["containers"][0]
    maps = of_kind(objects, "ConfigMap")
    found: dict[str, str] = {}
    for source in (one for one in container["envFrom"] if "configMapRef" in one):
        name = source["configMapRef"]["name"].removeprefix("trial-trimtab-")
        found |= maps[name]["data"]
    for one in container["env"]:
        secret = one.get("valueFrom", {}).get("secretKeyRef")
        found[one["name"]] = f"{secret['name']}/{secret['key']}" if secret else one["value"]
    return found
