"""`python -m infra.demo` runs the whole loop on real parts, in two acts. See README.md."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from infra.demo import act_one, table
from infra.demo.act_two import ActTwo, Director, Limits
from infra.demo.audit import Holdings, Sendings, audit, holdings
from infra.demo.clients import Clients
from infra.demo.compare import Compared, compare
from infra.demo.imports import Sent
from infra.demo.population import DEFAULT, Population, PopulationError, load
from infra.demo.progress import DemoFailed, Progress
from infra.demo.report import Report, effects, satisfaction
from infra.demo.stage import Stage, overlay, patience, with_overlay
from infra.demo.watch import Watch
from infra.local.environment import environment
from infra.local.parts import PartsError, build_parts
from infra.local.ports import PortTaken
from infra.local.settings import load as load_stack
from infra.local.stack import LocalStack, PartFailed
from shared.commandline.streams import forgive
from shared.language.errors import TrimtabError
from shared.language.visible import visible

SETTLE_S = 60.0
# vLLM may take long to start on a busy machine.
READY_S = 600.0


WORTH_SEEING = """\
look at the dashboard while the demo runs: {url}
  "The loop": conversations go from stage to stage, with reasons for what is left out
  "Dissatisfied follow-ups": in act two the taste shifts, the line rises, and "Alarms" has its first entry
  "Retraining runs": the run that the alarm starts, and its gate line by line
  "Who serves now": the canary beside the champion, until one of them is left"""
SLOW = (
    "this processor has no bfloat16 instructions: the model is several times as slow as in the README's"
    " figures; every wait may take {times:g} times as long"
)


@dataclass(frozen=True, slots=True)
class Invitation:
    """Prints the dashboard's address as soon as the dashboard answers."""

    url: str
    progress: Progress

    def __call__(self, part: str) -> None:
        if part == "dashboard":
            self.progress.say(WORTH_SEEING.format(url=self.url))


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m infra.demo", description=__doc__)
    root.add_argument(
        "--population", type=Path, default=DEFAULT, help="who the simulated users are"
    )
    root.add_argument(
        "--conversations", type=int, default=600, help="human chats, at most; 0: none"
    )
    root.add_argument(
        "--send-s", type=float, default=60.0, help="about how long to import human chats"
    )
    root.add_argument(
        "--mine-s", type=float, default=180.0, help="how long the last of them may take to be mined"
    )
    root.add_argument("--data", type=Path, help="data folder of the stack")
    root.add_argument("--ports-offset", type=int, default=0, help="number to add to every port")
    return root


def main() -> None:
    options = parser().parse_args()
    forgive()
    progress = Progress()
    try:
        population = load(options.population)
        report, folder = run(options, population, progress)
    except (PopulationError, PartsError, PortTaken, PartFailed, DemoFailed, TrimtabError) as error:
        sys.exit(visible(f"error: {error}"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    table.show(report, progress.console)
    progress.say(f"all figures are in {folder / 'result.json'}")
    sys.exit(1 if report.problems else 0)


def run(
    options: argparse.Namespace, population: Population, progress: Progress
) -> tuple[Report, Path]:
    """Starts the stack and plays both acts; returns the report and the folder to write it to."""
    variables = overlay(times=patience())
    progress.headline("the stack")
    if patience() > 1.0:
        progress.say(SLOW.format(times=patience()))
    for name, value in variables.items():
        progress.say(f"demo setting: {name}={value}")
    build_parts()
    settings = load_stack(options.data, ports_offset=options.ports_offset)
    url = environment(settings)["TRIMTAB_DASHBOARD_URL"]
    stack = with_overlay(LocalStack(settings, progress.say, Invitation(url, progress)), variables)
    stack.up(timeout_s=READY_S, later=["vllm"])
    key, tenant = next(iter(settings.keys.items()))
    report = asyncio.run(play(options, population, progress, stack, (key, tenant)))
    return report, settings.run_folder / "demo"


async def play(
    options: argparse.Namespace,
    population: Population,
    progress: Progress,
    stack: LocalStack,
    access: tuple[str, str],
) -> Report:
    (key, tenant), env = access, stack.env()
    clients = Clients(env, tenant)
    stage = Stage(
        prefix=f"demo{int(time.time()):x}",
        gateway_url=env["TRIMTAB_GATEWAY_URL"],
        dashboard_url=env["TRIMTAB_DASHBOARD_URL"],
        key=key,
        clients=clients,
        progress=progress,
    )
    try:
        return await _acts(options, population, stage, stack)
    finally:
        await clients.close()


async def _acts(
    options: argparse.Namespace, population: Population, stage: Stage, stack: LocalStack
) -> Report:
    if await Watch(stage.clients).played_before():
        raise DemoFailed(
            "this stack has raised the demo's alarm before, whatever came of it, and would not raise it"
            " again. `make clean` removes the stack; then `make demo` again."
        )
    before = await holdings(stage.clients)
    one = None
    if options.conversations:
        stage.progress.headline("act one: real people")
        budget = act_one.Budget(options.conversations, options.send_s, options.mine_s, rest_s=60.0)
        one = await act_one.play(stage, budget)
    # Imports need no model; it has been loading in the meantime.
    await asyncio.to_thread(stack.wait_ready, ["vllm"], READY_S)
    stage.progress.headline("act two: a live product (its users are simulated)")
    two = await Director(stage, population, Limits().times(patience())).play()
    vllm_url = stack.env()["TRIMTAB_VLLM_URLS"].split(",")[0]
    compared = await _side_by_side(stage, two, population, vllm_url)
    tastes = [taste.name for taste in population.shift.tastes]
    return await _reported(stage, before, one, two, compared, tastes)


async def _side_by_side(
    stage: Stage, two: ActTwo, population: Population, vllm_url: str
) -> list[Compared]:
    """The first champion, the run's version and its control, as far as they exist."""
    watch = Watch(stage.clients)
    named = {"before": two.first_champion}
    if two.run and two.run.control_version:
        named["SFT alone (control)"] = two.run.control_version
    if two.run and two.run.model_version:
        named["DPO (the run's version)"] = two.run.model_version
    versions = {
        role: (name, (await watch.version(name)).served_name) for role, name in named.items()
    }
    stage.progress.say(f"asking {', '.join(named.values())} the held-back requests")
    found = await compare(vllm_url, versions, population)
    gone = [one for one in named.values() if one not in {each.version for each in found}]
    if gone:
        stage.progress.say(f"not served any more, so not asked: {', '.join(gone)}")
    return found


async def _reported(
    stage: Stage,
    before: Holdings,
    one: act_one.ActOne | None,
    two: ActTwo,
    compared: list[Compared],
    tastes: list[str],
) -> Report:
    imported = one.sent if one else Sent()
    sent = Sendings(
        conversations=imported.conversations + len(two.book.conversations),
        turns=imported.turns + two.book.turns,
        ratings=imported.ratings,
    )
    audited = await audit(stage.clients, stage.progress, sent, before, SETTLE_S)
    mined = await Watch(stage.clients).mined(set(two.book.conversations))
    return Report(
        one=one,
        two=two,
        satisfaction=satisfaction(two, mined),
        compared=compared,
        sent=sent,
        audit=audited,
        tally=audited.after.tally.minus(before.tally),
        dashboard_url=stage.dashboard_url,
        elapsed_s=stage.progress.elapsed_s,
        effects=effects(two, tastes),
    )


if __name__ == "__main__":
    main()
