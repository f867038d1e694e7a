"""The programs of Kubernetes, built from the Go modules that tools/go.mod and tools/go.sum pin.

They are kept outside the checkout, one folder for each set of pins. A program is renamed into place when it
is whole, and whoever comes while another builds it waits.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from infra.local.paths import REPO

MODULE = REPO / "infra" / "kubernetes" / "tools"
# In the order of who is waited for most. The last two are for the real node only.
TOOLS = {
    "helm": "helm.sh/helm/v3/cmd/helm",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform",
    "helm-unittest": "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
}
# Not in go.mod, with whose versions it does not build: as `go install` takes it.
INSTALLED = {"coredns": "github.com/coredns/coredns@v1.12.4"}
FAKE = (
    "helm",
    "kubectl",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
)
CHECKS = ("kubeconform", "helm-unittest")
ALL = (*TOOLS, *INSTALLED)
REAL = (*FAKE[:-1], "kubelet", "kube-proxy", *INSTALLED)
# Two packages at a time: a compiler of Kubernetes' larger packages takes a gigabyte.
_FLAGS = ("-p", "2", "-trimpath")
_NICE = ("nice", "-n", "10")


class ToolsError(Exception):
    """A program cannot be built; the message says what to do about it."""


def tools_folder() -> Path:
    """Where the programs of this checkout's pins are."""
    return home() / _digest()


def tool(name: str) -> Path:
    """The path of one program, built if it is missing. Raises ToolsError."""
    if name not in ALL:
        raise ToolsError(f"there is no tool {name!r}: choose from {', '.join(ALL)}")
    place = _place(name)
    if not place.exists():
        require_go()
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.with_name(f".{place.name}.lock")):
            if not place.exists():
                _build(name, place)
    return place


def for_tests() -> tuple[str, ...]:
    """What the tests use here: as root those of the real node, too."""
    real = REAL if os.getuid() == 0 else ()
    return tuple(dict.fromkeys((*FAKE, *CHECKS, *real)))


def build_tools(names: Iterable[str] = ()) -> Path:
    """Builds what is missing of the named programs (by default what the tests use), with lines on stderr for
    each; returns the folder of those in go.mod. Raises ToolsError."""
    for name in names or for_tests():
        tool(name)
    return tools_folder()


def _place(name: str) -> Path:
    if name in INSTALLED:
        return home() / INSTALLED[name].rpartition("/")[2] / name
    return tools_folder() / name


def home() -> Path:
    """Where all that is built is kept. TRIMTAB_KUBERNETES_TOOLS moves it."""
    home = os.environ.get("TRIMTAB_KUBERNETES_TOOLS") or Path.home() / ".cache/trimtab/kubernetes"
    return Path(home).absolute()


def _build(name: str, place: Path) -> None:
    print(f"{name}: building", file=sys.stderr, flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".building-") as scratch:
        if name in INSTALLED:
            flags, package = "-s -w", INSTALLED[name]
            command = [*_NICE, "env", f"GOBIN={scratch}", "go", "install", *_FLAGS]
        else:
            flags, package = _link_flags(), TOOLS[name]
            command = [*_NICE, "go", "build", *_FLAGS, "-o", f"{scratch}/{name}"]
        _go([*command, "-ldflags", flags, package], f"{name} cannot be built")
        (Path(scratch) / name).rename(place)
    print(f"{name}: built in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def require_go() -> None:
    """Raises ToolsError unless a Go is installed that is as new as go.mod asks for."""
    wanted = re.search(r"^go (\d+)\.(\d+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert wanted  # noqa: S101 — go.mod always says it
    version = ".".join(wanted.groups())
    if shutil.which("go") is None:
        raise ToolsError(f"Go {version} or later is missing: install it and put its `go` on PATH")
    # In a folder without go.mod: there Go does not look for another version of itself.
    shown = subprocess.run(["go", "version"], cwd="/", capture_output=True, text=True, check=False)  # noqa: S607
    found = re.search(r"go(\d+)\.(\d+)", shown.stdout)
    newer = os.environ.get("GOTOOLCHAIN", "auto") != "local"
    if not found or (
        not newer and tuple(map(int, found.groups())) < tuple(map(int, wanted.groups()))
    ):
        said = (shown.stdout or shown.stderr).strip()
        raise ToolsError(
            f"Go {version} or later is needed, but `go version` says {said!r}: install a newer one"
        )


@cache
def version_of(module: str) -> str:
    """The version of a module that go.mod pins, such as v1.36.3."""
    found = re.search(
        rf"^\s*{re.escape(module)} (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE
    )
    if not found:
        raise ToolsError(f"{MODULE / 'go.mod'} does not name {module}")
    return found.group(1)


def module_folder(module: str, version: str, digest: str) -> Path:
    """The unpacked source of a module in Go's cache, fetched if needed. `digest` is what go.sum would say
    of it (h1:...): another content is refused."""
    require_go()
    told = _go(
        ["go", "mod", "download", "-json", f"{module}@{version}"],
        f"{module} cannot be fetched",
        cwd=Path("/"),
    )
    found: dict[str, Any] = json.loads(told)
    if found["Sum"] != digest:
        raise ToolsError(
            f"{module}@{version} is {found['Sum']}, not {digest}: do not use it before you know why"
        )
    return Path(found["Dir"])


def pinned_folder(module: str) -> Path:
    """The unpacked source of a module that go.mod names."""
    require_go()
    told = _go(["go", "mod", "download", "-json", module], f"{module} cannot be fetched")
    return Path(json.loads(told)["Dir"])


def _go(command: list[str], failure: str, cwd: Path = MODULE) -> str:
    done = subprocess.run(  # noqa: S603
        command, cwd=cwd, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise ToolsError(f"{failure}; `{' '.join(command)}` in {cwd} says:\n{said}")
    return done.stdout


def _environment() -> dict[str, str]:
    return os.environ | {"GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0", "GOWORK": "off"}


def _link_flags() -> str:
    """Without debugging symbols, and with what the programs say of their version. Helm would otherwise take
    every cluster that it cannot ask for a Kubernetes 1.20."""
    kubernetes = version_of("k8s.io/kubernetes")
    major, minor = kubernetes.removeprefix("v").split(".")[:2]
    base, helm = "k8s.io/component-base/version", "helm.sh/helm/v3"
    values = {
        f"{base}.gitVersion": kubernetes,
        f"{base}.gitMajor": major,
        f"{base}.gitMinor": minor,
        f"{helm}/internal/version.version": version_of(helm),
        f"{helm}/pkg/chartutil.k8sVersionMajor": major,
        f"{helm}/pkg/chartutil.k8sVersionMinor": minor,
        f"{helm}/pkg/lint/rules.k8sVersionMajor": major,
        f"{helm}/pkg/lint/rules.k8sVersionMinor": minor,
    }
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in values.items())])


def _digest() -> str:
    pins = [(MODULE / name).read_bytes() for name in ("go.mod", "go.sum")]
    return hashlib.sha256(b"\0".join([*pins, _link_flags().encode()])).hexdigest()[:12]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
