"""What the real node needs of the system: Debian's packages, installed by a step of their own."""

from __future__ import annotations

import os
import shutil
import subprocess

PACKAGES = (
    "buildah",
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "ethtool",
    "iproute2",
    "iptables",
    "mmdebstrap",
    "nftables",
    "runc",
    "socat",
)


class PackagesMissing(Exception):
    """The system lacks packages, or the right to install them; the message says what to do."""


def missing_packages() -> list[str]:
    """Of PACKAGES, those that are not installed. Raises PackagesMissing on a system without dpkg."""
    if shutil.which("dpkg-query") is None:
        raise PackagesMissing(
            f"this is no Debian: install what is called there {', '.join(PACKAGES)}"
        )
    asked = subprocess.run(  # noqa: S603
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    there = {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in PACKAGES if name not in there]


def require_packages() -> None:
    """Raises PackagesMissing."""
    if absent := missing_packages():
        raise PackagesMissing(
            f"the real node needs {', '.join(absent)}: run `python -m infra.kubernetes packages` as root"
        )


def install_packages() -> list[str]:
    """Installs what is missing and returns its names. Raises PackagesMissing."""
    absent = missing_packages()
    if not absent:
        return []
    if os.getuid() != 0:
        raise PackagesMissing(
            f"only root can install {', '.join(absent)}: run this command as root"
        )
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", *absent]):
        done = subprocess.run(  # noqa: S603
            ["apt-get", *words],  # noqa: S607
            env=quiet,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise PackagesMissing(
                f"`apt-get {' '.join(words)}` failed: {done.stderr.strip()[-1000:]}"
            )
    return absent
