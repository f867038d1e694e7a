"""What a real node leaves in the kernel: containers, mounts, its network. Found by its names, and removed."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from infra.kubernetes.node import BRIDGE, NETWORK

_GROUPS = Path("/sys/fs/cgroup")
_PATIENCE_S = 10.0
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


# Held by the process that runs a node; names the folder of its files until all is removed.
_RECORD = Path("/run/trimtab-node")


class AnotherRuns(Exception):
    """Another Kubernetes is at work on this machine; the message says how that was seen."""


class Claim:
    """The right to run a node on this machine, until it is given back or the process ends."""

    def __init__(self, socket: Path, folder: Path) -> None:
        """Removes what a node has left whose process was killed. Raises AnotherRuns."""
        self._record = _RECORD.open("a+")
        self._record.seek(0)
        try:
            fcntl.flock(self._record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            where = self._record.read().rpartition("\n")[2]
            raise AnotherRuns(
                f"another process runs a node (in {where}): wait until it is done"
            ) from None
        if left := self._record.read():
            remove(*map(Path, left.split("\n")))
        if found := seen():
            self._record.close()
            raise AnotherRuns(
                f"another Kubernetes is at work here ({', '.join(found)}): stop it first"
            )
        self._say(f"{socket}\n{folder}")

    def give_back(self) -> None:
        self._say("")
        self._record.close()

    def _say(self, text: str) -> None:
        self._record.seek(0)
        self._record.truncate()
        self._record.write(text)
        self._record.flush()


def seen() -> list[str]:
    """What shows that a kubelet has been at work on this machine, in words."""
    found = [f"the network bridge {BRIDGE}"] if Path(f"/sys/class/net/{BRIDGE}").exists() else []
    if _pids_of_pods():
        found.append("processes in pods")
    if "kube-proxy" in _printed(["nft", "list", "tables"]):
        found.append("kube-proxy's tables")
    return found


def make_bridge(address: str, length: int) -> None:
    """The bridge of the pods, which the first pod would make: the kubelet wants its address before."""
    for words in (
        ["link", "add", BRIDGE, "type", "bridge"],
        ["address", "add", f"{address}/{length}", "dev", BRIDGE],
        ["link", "set", BRIDGE, "up"],
    ):
        subprocess.run(["ip", *words], check=True)  # noqa: S603, S607


def remove(socket: Path, folder: Path) -> None:
    """Kills the containers of the containerd at `socket`, unmounts what is below `folder`, removes bridge,
    addresses and rules. For after the kubelet's end, which would start them again."""
    for _ in _until_none():
        pids = [*_pids_of_pods(), *_shims(socket)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
    _unmount(folder)
    _remove_groups()
    _remove_rules()
    _quiet(["ip", "link", "delete", BRIDGE])
    for name in ("ip", "ip6"):
        _quiet(["nft", "delete", "table", name, "kube-proxy"])
    for result in Path("/var/lib/cni/results").glob(f"{NETWORK}-*"):
        result.unlink()
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and str(folder) in str(link.readlink()):
            link.unlink()


def _until_none() -> Iterator[None]:
    """Rounds, a little apart, until the caller stops or a deadline is over."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)


def _pids_of_pods() -> list[int]:
    files = [file for root in _pod_groups() for file in root.rglob("cgroup.procs")]
    return [int(line) for file in files for line in _lines(file)]


def _pod_groups() -> list[Path]:
    """The kubelet's control groups: one tree, or with version 1 one for each controller."""
    return [path for path in (_GROUPS / "kubepods", *_GROUPS.glob("*/kubepods")) if path.is_dir()]


def _shims(socket: Path) -> list[int]:
    """The processes between containerd and its containers; their command line names its socket."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        words = "\0".join(_lines(file)).split("\0")
        if words[0].endswith("containerd-shim-runc-v2") and str(socket) in words:
            found.append(int(file.parent.name))
    return found


def _unmount(folder: Path) -> None:
    mounted = [line.split()[1] for line in _lines(Path("/proc/self/mounts"))]
    # What was mounted last, first; a name's blanks are written in octal.
    for path in reversed([_named(one) for one in mounted]):
        if path.startswith(f"{folder}/"):
            _quiet(["umount", "--lazy", path])


def _named(text: str) -> str:
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), text)


def _remove_groups() -> None:
    for root in _pod_groups():
        groups = sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True)
        for group in [*groups, root]:
            with suppress(OSError):
                group.rmdir()


def _remove_rules() -> None:
    """The rules for each pod's traffic to the outside, and their chains."""
    rules = _printed(["iptables-save", "-t", "nat"]).splitlines()
    ours = [rule for rule in rules if f'name: \\"{NETWORK}\\"' in rule]
    chains = {word for rule in ours for word in re.findall(r"CNI-[0-9a-f]+", rule)}
    text = [
        "*nat",
        *(rule.replace("-A ", "-D ", 1) for rule in ours),
        *(f"-X {one}" for one in chains),
    ]
    if ours:
        subprocess.run(
            ["iptables-restore", "--noflush"],  # noqa: S607
            input="\n".join([*text, "COMMIT", ""]),
            text=True,
            check=False,
            capture_output=True,
        )


def _lines(file: Path) -> list[str]:
    """Of a file that may be gone."""
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _printed(command: list[str]) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout  # noqa: S603


def _quiet(command: list[str]) -> None:
    """For what may be gone already."""
    subprocess.run(command, check=False, capture_output=True)  # noqa: S603
