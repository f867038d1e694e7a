"""`python -m infra.kubernetes COMMAND`: the programs of Kubernetes, and clusters to try things in."""

import argparse
import sys

from infra.kubernetes.tools import TOOLS, ToolsError, build_tools


def tools(options: argparse.Namespace) -> None:
    print(build_tools(options.names))


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m infra.kubernetes", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    text = "build the programs that are missing, and print the folder they are in"
    build = commands.add_parser("tools", help=text, description=text)
    build.add_argument(
        "names", nargs="*", metavar="NAME", help=f"all by default: {', '.join(TOOLS)}"
    )
    build.set_defaults(run=tools)
    return root


def main() -> None:
    options = parser().parse_args()
    try:
        options.run(options)
    except ToolsError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
