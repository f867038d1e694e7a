"""`python -m infra.kubernetes COMMAND`: the programs of Kubernetes, and a cluster to try things in."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from infra.kubernetes.cluster import CommandFailed, FakeCluster
from infra.kubernetes.packages import PackagesMissing, install_packages
from infra.kubernetes.processes import ClusterFailed
from infra.kubernetes.tools import ALL, FAKE, ToolsError, build_tools

_ENDS = {signal.SIGINT, signal.SIGTERM}


def tools(options: argparse.Namespace) -> None:
    print(build_tools(options.names))


def packages(_: argparse.Namespace) -> None:
    installed = install_packages()
    print(f"installed: {', '.join(installed)}" if installed else "every package is installed")


def up(options: argparse.Namespace) -> None:
    folder = build_tools(FAKE)
    with (
        tempfile.TemporaryDirectory(prefix="trimtab-kubernetes-") as home,
        FakeCluster(Path(home)) as cluster,
    ):
        cluster.apply_crds(*options.crds)
        print(f"export KUBECONFIG={cluster.kubeconfig} PATH={folder}:$PATH", flush=True)
        print("The cluster runs until this command is stopped (Ctrl-C).", file=sys.stderr)
        # Only now: what is started inherits what is blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        signal.sigwait(_ENDS)


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m infra.kubernetes", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    text = "build the programs that are missing, and print the folder they are in"
    build = commands.add_parser("tools", help=text, description=text)
    names = f"by default what the tests use here; of {', '.join(ALL)}"
    build.add_argument("names", nargs="*", metavar="NAME", help=names)
    build.set_defaults(run=tools)
    text = "install the Debian packages that the real node needs (as root)"
    commands.add_parser("packages", help=text, description=text).set_defaults(run=packages)
    text = "run a cluster with fake nodes until it is interrupted"
    fake = commands.add_parser("up", help=text, description=text)
    fake.add_argument(
        "--crds", nargs="*", default=[], metavar="NAME", help="of crds.toml; all by default"
    )
    fake.set_defaults(run=up)
    return root


def main() -> None:
    options = parser().parse_args()
    try:
        options.run(options)
    except (ToolsError, PackagesMissing, ClusterFailed, CommandFailed, LookupError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
