"""trimtab policies create | list | show | update | delete"""

from __future__ import annotations

import functools
import getpass
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from services.cli.app.platform import listed
from services.cli.commands.session import Session, session_of
from services.cli.commands.words import interests_words
from services.cli.domain import Json
from services.cli.domain.policies import (
    FIELDS,
    Field,
    document_of,
    mask_of,
    unset_paths,
    value_of,
)
from shared.language.errors import InvalidArgument, Unavailable

app = typer.Typer(
    no_args_is_help=True,
    help="Policies: a team's assistants. Every tenant has `assistant` without creating it.",
)

INTERESTS = "interests."
Name = Annotated[str, typer.Argument(help="The policy, such as support.")]
Reason = Annotated[str, typer.Option("--reason", help="Required: recorded with the deletion.")]


def _settable(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each field of a policy. It gets as `given` those that were used, by
    path."""
    own = inspect.signature(command, eval_str=True)
    kept = [one for one in own.parameters.values() if one.name != "given"]

    @functools.wraps(command)
    def called(**arguments: Any) -> None:
        values = {one.path: arguments.pop(one.argument) for one in FIELDS}
        given = {path: value for path, value in values.items() if value is not None}
        command(**arguments, given=given)

    options = [_option(one) for one in FIELDS]
    called.__signature__ = own.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]
    return called


def _option(field: Field) -> inspect.Parameter:
    said = f"--{field.name}"
    names = f"{said}/--no-{field.name}" if field.kind is bool else said
    option = typer.Option(names, help=field.help, show_default=False)
    return inspect.Parameter(
        field.argument,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[field.kind | None, option],
    )


@app.command()
@_settable
def create(
    context: typer.Context,
    name: Name,
    base_model: Annotated[
        str, typer.Option(help="The name under which vLLM serves it; default: the deployment's.")
    ] = "",
    *,
    given: Mapping[str, Any],
) -> None:
    """Create a policy. Requests name it in `model`, and the base model answers until a version is promoted.

    NAME has 1 to 40 lower-case letters, digits and hyphens, and is never used again after a deletion. What
    is not given follows the deployment's settings, also when they change.

    \b
    Examples:
      trimtab policies create support --description "help desk" --volume-pairs 200
      trimtab policies create editor --recipe figa --schedule "0 3 * * *"
      trimtab policies create tutor --base-model qwen-0.5b --schedule "0 3 * * *" --no-drift
    """
    session = session_of(context)
    _check_recipe(session, given)
    policy = {**document_of(_signed(given)), "base_model": base_model}
    request = {"policy_id": name, "policy": policy}
    made = session.platform.call("registry", "CreatePolicy", request, timeout_s=60.0)["policy"]
    session.show(made, lambda: _people(session, made))


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 100,
) -> None:
    """List the tenant's policies, and what serves for each.

    \b
    Examples:
      trimtab policies list
      trimtab policies list --json | jq -r '.policies[].name'
    """
    session = session_of(context)
    found = listed(session.platform, "registry", "ListPolicies", "policies", {}, limit)
    session.show({"policies": found}, lambda: policy_table(session, found))


@app.command()
def show(context: typer.Context, name: Name) -> None:
    """Show a policy: what serves, and every setting of its own.

    \b
    Example:
      trimtab policies show support
    """
    session = session_of(context)
    found = session.platform.call("registry", "GetPolicy", {"name": name})["policy"]
    session.show(found, lambda: _people(session, found))


@app.command()
@_settable
def update(
    context: typer.Context,
    name: Name,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Reset this field, such as gate.win_rate, to the deployment's value. Repeatable.",
        ),
    ] = None,
    revision: Annotated[
        int, typer.Option(min=0, help="Only if its revision is still this one. 0: whatever it is.")
    ] = 0,
    *,
    given: Mapping[str, Any],
) -> None:
    """Change settings of a policy. What is not named stays as it is.

    A run and a rollout that are under way keep what they began with. The base model cannot change: create
    another policy.

    \b
    Examples:
      trimtab policies update support --gate-win-rate 0.55 --canary-share 0.1
      trimtab policies update support --unset gate.win_rate --unset schedule
      trimtab policies update support --suite over_refusal --suite sycophancy
      trimtab policies update support --conflict-rule mean --conflict-reason "a trial among ourselves"
    """
    session, given = session_of(context), _signed(given)
    removed = unset_paths(unset or ())
    if both := sorted(set(removed) & given.keys()):
        raise InvalidArgument(f"{both[0]} is both set and unset: choose one", reason="USAGE")
    if not (given or removed):
        raise InvalidArgument("nothing to change: give options, or --unset FIELD", reason="USAGE")
    _check_recipe(session, given)
    request = {
        "policy": {**document_of(given), "name": name},
        "update_mask": mask_of([*given, *removed]),
        "revision": revision,
    }
    changed = session.platform.call("registry", "UpdatePolicy", request)["policy"]
    session.show(changed, lambda: _people(session, changed))


def _check_recipe(session: Session, given: Mapping[str, Any]) -> None:
    """Whether there is a recipe, retrain knows. While it is away, nobody is kept from naming one."""
    name = given.get("recipe.name")
    if not name:
        return
    try:
        found = session.platform.call("retrain", "ListRecipes", {})["recipes"]
    except Unavailable:
        return
    known = [one["name"] for one in found]
    if name not in known:
        words = f"there is no recipe {name!r}; choose from {', '.join(known)}"
        raise InvalidArgument(words, reason="UNKNOWN_RECIPE", field="recipe")


@app.command()
def delete(
    context: typer.Context,
    name: Name,
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a policy for good, after showing what goes with it.

    Refused while a run or a rollout of it is under way. Its name cannot be used again.

    \b
    Examples:
      trimtab policies delete support --reason "the team moved on"
      trimtab policies delete support --reason "the team moved on" --yes
    """
    session = session_of(context)
    request = {"name": name, "actor": getpass.getuser(), "reason": reason}
    if not yes:
        going = session.platform.call(
            "registry", "DeletePolicy", {**request, "validate_only": True}
        )
        session.err.print(
            "\n".join([f"Policy {name} of tenant {session.tenant}:", *going["words"]])
        )
        typer.confirm("Delete it?", abort=True, err=True)
    gone = session.platform.call("registry", "DeletePolicy", request, timeout_s=60.0)

    def people() -> None:
        for words in gone["words"] if yes else ():
            session.line(words)
        session.line(f"{name} is deleted.")

    session.show(gone, people)


def _signed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the name of whoever chooses how interests are weighed."""
    chooses = any(path.startswith(INTERESTS) for path in given)
    return {**given, f"{INTERESTS}actor": getpass.getuser()} if chooses else given


def policy_table(session: Session, found: list[Json]) -> None:
    rows = [
        (
            id_of(one),
            one["champion_version"],
            one["canary_version"],
            one["base_model"],
            one["description"],
            one.get("update_time"),
        )
        for one in found
    ]
    columns = ("policy", "champion", "canary", "base model", "description", "changed")
    session.table(columns, rows, "There are no policies.")


def id_of(policy: Json) -> str:
    return str(policy["name"]).rpartition("/")[2]


def _people(session: Session, found: Json) -> None:
    session.line(f"{found['name']}  revision {found['revision']}")
    session.note(found["description"])
    canary = f", canary {found['canary_version']}" if found["canary_version"] else ""
    session.line(f"base model {found['base_model']}; champion {found['champion_version']}{canary}")
    session.line("")
    for words in interests_words(found.get("interests")):
        session.line(words)
    session.line("")
    own = [
        (one.path, _words(value_of(found, one.path)))
        for one in FIELDS[1:]
        if not one.path.startswith(INTERESTS)
    ]
    session.table(
        ("setting", "value"), [row for row in own if row[1]], "It has no settings of its own."
    )
    session.line("Everything else follows the deployment's settings.")


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value)
    if value == "":
        return '""'
    return "" if value is None else str(value)
