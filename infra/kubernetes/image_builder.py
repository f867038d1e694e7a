"""The images of infra/docker/Dockerfile, built as root with buildah over a Debian that mmdebstrap makes."""

from __future__ import annotations

from pathlib import Path

from infra.kubernetes.processes import CommandFailed, run
from infra.local.paths import REPO

DOCKERFILE = REPO / "infra" / "docker" / "Dockerfile"
REGISTRY = "localhost"
_BASE = f"{REGISTRY}/trimtab-base:2"
# As python:3.11-slim has it.
_PACKAGES = "python3,python3-venv,ca-certificates"
_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
# The machine's own settings of the clients that fetch packages: builds see them, images do not contain them.
_CLIENTS = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf"))
_CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
_AN_HOUR_S = 3600.0


class ImageBuilder:
    """`folder` keeps buildah's storage and the archives, so that a later build makes only what has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def build(self, target: str, tag: str) -> Path:
        """Builds one target of the Dockerfile as trimtab-<target>:<tag>; returns its archive.
        Raises CommandFailed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._has(_BASE):
            self._make_base()
        name = f"{REGISTRY}/trimtab-{target}:{tag}"
        words = ["bud", "--isolation", "chroot", "--network", "host", "--layers", *_clients()]
        words += ["--build-arg", f"BASE={_BASE}", "--target", target, "--tag", name]
        self._buildah(*words, "--file", str(DOCKERFILE), str(REPO))
        archive = self._folder / f"{target}.tar"
        archive.unlink(missing_ok=True)
        self._buildah("push", "--quiet", name, f"docker-archive:{archive}:{name}")
        return archive

    def _make_base(self) -> None:
        tar = self._folder / "base.tar"
        debian(tar, _PACKAGES)
        container = self._buildah("from", "scratch").strip()
        self._buildah("add", "--quiet", container, str(tar), "/")
        self._buildah("commit", "--quiet", "--rm", container, _BASE)
        tar.unlink()

    def _has(self, name: str) -> bool:
        try:
            self._buildah("inspect", "--type", "image", name)
        except CommandFailed:
            return False
        return True

    def _buildah(self, *words: str) -> str:
        storage = ["--root", str(self._folder / "storage"), "--runroot", str(self._folder / "run")]
        command = ["nice", "buildah", *storage, "--storage-driver", "overlay", *words]
        return run(command, timeout_s=_AN_HOUR_S)


def debian(tar: Path, packages: str) -> None:
    """A small Debian of this machine's release with the packages, as a tar file."""
    command = ["nice", "mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}"]
    run([*command, _release(), str(tar), str(_SOURCES)], timeout_s=_AN_HOUR_S)


def _release() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    [name] = [line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME=")]
    return name


def _clients() -> list[str]:
    words = [
        word for file in _CLIENTS if file.exists() for word in ("--volume", f"{file}:{file}:ro")
    ]
    certificates = _CLIENTS[0]
    if certificates.exists():
        words += [w for name in _CERTIFICATES for w in ("--build-arg", f"{name}={certificates}")]
    return words
