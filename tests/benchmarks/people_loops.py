"""Whom one untouched loop helps and whom it hurts: the demo's second act on the real model, population by
population and seed by seed. A JSON line a loop, and one a population.

people.loop.POPULATION   one loop: its verdict; of each taste how often answers broke it before and at the end,
                         and the interval of the difference; what the run's gate said of each group; what became
                         of the runs for those whom its version left without what they ask for
people.loops.POPULATION  the share of loops that ended well, with a 95% interval, and how many ended how:
    helped     the group that the shift was about has its broken wishes down by at least half of the rise, and
               no group is worse: it keeps the weights that answered it before, or the upper bound of its
               difference is within the margin of the policy
    refused    the version does not serve, and the run or the rollout names a group that it would hurt or that
               too little is known of
    badly      anything else

Before the shift everybody accepts any answer, so the rise is the rate after it. Each loop has a stack of its
own and takes some ten minutes on two cores that have bfloat16 instructions; nothing is asked of it twice.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.demo.population import DEFAULT
from infra.demo.stage import patience
from shared.language.interests import Interests
from shared.statistics.intervals import wilson

BRIEF = {"name": "brief", "max_words": 35}
THOROUGH = {"name": "thorough", "min_words": 45}
LISTS = {"name": "lists", "contains": r"(?m)^ *([-*•]|[0-9]+[.)]) ", "wish": "use a list"}
PHONE, DESKTOP = {"segments": {"reader": "phone"}}, {"segments": {"reader": "desktop"}}
Tastes = list[tuple[Mapping[str, Any], float]]
# The tastes after the shift, which is about the first, and their shares. Only of the last is anything declared.
POPULATIONS: Mapping[str, Tastes] = {
    "80_20": [(BRIEF, 0.8), (THOROUGH, 0.2)],
    "60_30_10": [(BRIEF, 0.6), (LISTS, 0.3), (THOROUGH, 0.1)],
    "95_5": [(BRIEF, 0.95), (THOROUGH, 0.05)],
    "one": [(BRIEF, 1.0)],
    "80_20_declared": [(BRIEF | PHONE, 0.8), (THOROUGH | DESKTOP, 0.2)],
}
_LIMIT_S = 3600.0
# The cheaper arms say nothing of groups, and cost minutes.
_ENVIRONMENT = {"TRIMTAB_RETRAIN_TRAIN_CONTROL": "false", "TRIMTAB_RETRAIN_IN_CONTEXT_ARM": "false"}


def measure(seeds: int, populations: list[str]) -> None:
    """Plays and prints the loops of those populations, seed by seed, so that each population is seen early."""
    endings: dict[str, list[str]] = {name: [] for name in populations}
    for seed in range(1, seeds + 1):
        for name in populations:
            found = played(name, seed)
            endings[name].append(found["value"])
            print(json.dumps(found), flush=True)
    for name, ended in endings.items():
        print(json.dumps(_summary(name, ended)), flush=True)


def played(name: str, seed: int, ports_offset: int = 0) -> dict[str, Any]:
    """One loop from an empty stack to its end. The offset is for a stack beside another one."""
    folder = Path(tempfile.mkdtemp(prefix="people-"))
    file = folder / "population.toml"
    file.write_text(population(POPULATIONS[name], seed))
    arguments = ["--population", str(file), "--conversations", "0", "--data", str(folder)]
    arguments += ["--ports-offset", str(ports_offset)]
    try:
        with (folder / "demo.log").open("w") as log:
            subprocess.run(
                [sys.executable, "-m", "infra.demo", *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, **_ENVIRONMENT},
                timeout=patience() * _LIMIT_S,
                check=False,
            )
        (result,) = folder.rglob("result.json")
        return figures(name, seed, json.loads(result.read_text()))
    finally:
        subprocess.run(
            [sys.executable, "-m", "infra.local", "down", "--data", str(folder)],
            stdout=subprocess.DEVNULL,
            check=False,
        )
        shutil.rmtree(folder, ignore_errors=True)


def population(tastes: Tastes, seed: int) -> str:
    """The demo's population with other tastes after the shift."""
    text = DEFAULT.read_text()
    text = re.sub(r"(?m)^seed = \d+", f"seed = {seed}", text)
    text = text.replace('"requests.txt"', json.dumps(str(DEFAULT.with_name("requests.txt"))))
    before, _, rest = text.partition("[[shift.tastes]]")
    after = rest[rest.index("[wordings]") :]
    return before + "".join(_taste(taste, share) for taste, share in tastes) + after


def figures(name: str, seed: int, result: Mapping[str, Any]) -> dict[str, Any]:
    shifted = POPULATIONS[name][0][0]["name"]
    return {
        "name": f"people.loop.{name}",
        "value": ending(result, shifted),
        "unit": "ending",
        "seed": seed,
        "verdict": result["verdict"],
        "evidence": result["evidence"],
        "only_groups": result["only_groups"],
        "followers": result["followers"],
        "gate": result["effects_at_the_gate"],
        "tastes": {one["taste"]: _rates(one) for one in result["effects"]},
        "problems": result["problems"],
        "minutes": round(result["elapsed_s"] / 60, 1),
    }


def ending(result: Mapping[str, Any], shifted: str) -> str:
    by_taste = {one["taste"]: one for one in result["effects"]}
    if not result["verdict"]:  # nobody waited until it was decided
        return "badly"
    if result["verdict"] != "promoted":
        said = [*result["effects_at_the_gate"], *result["evidence"].split("; ")]
        named = r"^group .+ is worse|(hurt|not told|worse)\b.*(people|group|everyone else)|not known of \w"
        names_one = any(re.search(named, one) for one in said)
        return "refused" if names_one else "badly"
    first = by_taste[shifted]
    is_halved = first["now"]["count"] > 0 and first["now"]["value"] <= first["before"]["value"] / 2
    return "helped" if is_halved and not any(map(_is_worse, by_taste.values())) else "badly"


def _is_worse(taste: Mapping[str, Any]) -> bool:
    """Or nothing says that it is not."""
    is_spared = 0 < taste["now"]["count"] == taste["kept"]
    return not is_spared and taste["change"]["high"] > Interests().margin


def _rates(effect: Mapping[str, Any]) -> dict[str, Any]:
    def said(rate: Mapping[str, Any]) -> str:
        return f"{rate['hits']} of {rate['count']} ({rate['users']} users)"

    change = [round(effect["change"][end], 3) for end in ("low", "high")]
    rates = {"before": said(effect["before"]), "now": said(effect["now"])}
    return {"words": effect["words"], **rates, "change": change, "kept": effect["kept"]}


def _taste(taste: Mapping[str, Any], share: float) -> str:
    fields = {key: value for key, value in taste.items() if key != "segments"} | {"share": share}
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    segments = [f"{key} = {json.dumps(value)}" for key, value in taste.get("segments", {}).items()]
    lines.append(f"segments = {{ {', '.join(segments)} }}")
    return "[[shift.tastes]]\n" + "\n".join(lines) + "\n\n"


def _summary(name: str, ended: list[str]) -> dict[str, Any]:
    well = sum(one != "badly" for one in ended)
    low, high = wilson(well, len(ended))
    return {
        "name": f"people.loops.{name}",
        "value": well / len(ended),
        "unit": "share that ended well",
        "low": round(low, 4),
        "high": round(high, 4),
        "loops": len(ended),
        **Counter(ended),
    }
