"""Recipes: what is shipped, what is refused, and what takes precedence."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from services.retrain.adapters.recipes import SHIPPED, RecipeFolders, read_recipe
from services.retrain.codec import decode_policy, encode_recipe
from services.retrain.domain.objectives import PURPOSES
from services.retrain.domain.recipes import Recipe
from services.retrain.domain.rules import Rules, Thresholds
from services.retrain.domain.runs import State
from services.retrain.domain.selection import Caps, select
from services.retrain.domain.training import TrainingPlan
from services.retrain.main import recipes_of
from services.retrain.settings import RetrainSettings
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.pairs import PairSource
from tests.unit.retrain.house import House, caller
from tests.unit.retrain.pairs import LOCAL, TRAINED, pair

GOOD = """
recipe = "mine"
version = 2
what = "For a test"

[selection]
sources = ["edit", "arena_vote"]
least_confidence = 0.5

[training]
objective = "robust_dpo"
smoothing = 0.2
max_steps = 5

[gate]
win_rate = 0.6
"""
LOCALS = caller("local")


def written(folder: Path, text: str = GOOD, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def house_of(recipe: Recipe) -> House:
    house = House()
    house.app = replace(house.app, recipe_of=lambda name: {recipe.name: recipe}[name])
    return house


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_trains_by_the_objective_it_is_named_after(path: Path) -> None:
    recipe = read_recipe(path)
    stages = "_".join([*(str(one["objective"]) for one in recipe.before), recipe.objective])
    assert (recipe.name, stages, recipe.version) == (path.stem, path.stem, 1)
    plan = recipe.applied(Rules()).plan
    if recipe.name != "sft":
        # Each stops 15 nats apart, in its own beta's units.
        assert plan.stop_margin / plan.beta == pytest.approx(15)


def test_there_is_a_recipe_for_every_objective() -> None:
    assert set(RecipeFolders().all()) == {*PURPOSES, "sft_dpo"}


def test_dpos_recipe_is_what_a_run_does_without_one() -> None:
    assert RecipeFolders().get("dpo").applied(Rules()).plan == TrainingPlan()


def test_a_recipe_says_what_it_sets_and_nothing_else(tmp_path: Path) -> None:
    assert read_recipe(written(tmp_path)) == Recipe(
        name="mine",
        version=2,
        what="For a test",
        sources=("edit", "arena_vote"),
        least_confidence=0.5,
        plan={"objective": "robust_dpo", "smoothing": 0.2, "max_steps": 5},
        thresholds={"win_rate": 0.6},
    )


@pytest.mark.parametrize(
    ("former", "wrong", "field", "words"),
    [
        ("smoothing", "smothing", "training.smothing", "Extra inputs are not permitted"),
        ("[gate]", "[gates]", "gates", "Extra inputs are not permitted"),
        ('"robust_dpo"', '"ppo"', "training.objective", "unknown; choose from sft, dpo, ipo"),
        ("smoothing = 0.2", "smoothing = 0.5", "training.smoothing", "less than 0.5"),
        ("max_steps = 5", 'max_steps = "5"', "training.max_steps", "valid integer"),
        ("max_steps = 5", "max_steps = 0", "training.max_steps", "greater than or equal to 1"),
        ("max_steps = 5", "target_margin = 1.0", "training", "does not take target_margin"),
        ("least_confidence = 0.5", "least_confidence = nan", "selection.least_confidence", ""),
        ('"edit"', '"edits"', "selection.sources", "'edits' is not a source"),
        ("win_rate = 0.6", "win_rate = 1.1", "gate.win_rate", "less than or equal to 1"),
        ("version = 2", "", "version", "Field required"),
        ("version = 2", "version = true", "version", "valid integer"),
        ('recipe = "mine"', 'recipe = "other"', "recipe", "is called other.toml"),
        ("version = 2", "version =", "", "Invalid value"),
    ],
)
def test_what_is_wrong_is_refused_by_file_and_field(
    tmp_path: Path, former: str, wrong: str, field: str, words: str
) -> None:
    assert former in GOOD
    with pytest.raises(InvalidArgument) as refused:
        read_recipe(written(tmp_path, GOOD.replace(former, wrong, 1)))
    assert refused.value.message.startswith(f"mine.toml: {field}")
    assert words in refused.value.message
    assert (refused.value.reason, refused.value.field) == ("WRONG_RECIPE", field)


STAGES = """
[[before]]
objective = "sft"
max_steps = 3
learning_rate = 0.001

[[before]]
objective = "ipo"

[training]
rank = 8
"""


def staged(former: str = "", other: str = "") -> str:
    text = GOOD.replace("\n[training]\n", STAGES, 1)
    assert former in text
    return text.replace(former, other, 1)


def test_stages_before_the_last_follow_the_deployment_and_share_the_adapter(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, staged()))
    plan = recipe.applied(Rules(plan=TrainingPlan(rank=4, beta=0.3, seed=7))).plan
    assert (plan.objective, plan.rank, plan.beta, plan.max_steps) == ("robust_dpo", 8, 0.3, 5)
    sft, ipo = plan.before
    assert (sft.objective, sft.rank, sft.max_steps, sft.learning_rate) == ("sft", 8, 3, 0.001)
    assert (ipo.objective, ipo.rank, ipo.beta, ipo.seed) == ("ipo", 8, 0.3, 7)
    assert plan.stages == (sft, ipo, replace(plan, before=()))
    assert TrainingPlan.told(json.loads(json.dumps(asdict(plan)))) == plan
    assert encode_recipe(recipe).training["before"] == "sft, ipo"


@pytest.mark.parametrize(
    ("former", "wrong", "field", "words"),
    [
        ("learning_rate = 0.001", "rank = 4", "before.0", "rank is of all stages"),
        ('"ipo"', '"ppo"', "before.1.objective", "unknown; choose from sft"),
        ('"ipo"', '"mnpo"', "", "mnpo looks at the policy's champions: it is no stage of several"),
    ],
)
def test_a_wrong_stage_is_refused_by_its_place(
    tmp_path: Path, former: str, wrong: str, field: str, words: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_recipe(written(tmp_path, staged(former, wrong)))
    assert refused.value.field == field
    assert words in refused.value.message


def test_an_sft_after_other_stages_has_a_control(tmp_path: Path) -> None:
    text = staged('objective = "robust_dpo"\nsmoothing = 0.2', 'objective = "sft"')
    assert read_recipe(written(tmp_path, text)).applied(Rules()).train_control


def test_a_run_keeps_its_stages_and_its_control_has_none() -> None:
    stages = ({"objective": "sft", "max_steps": 3},)
    house = house_of(Recipe("mine", 1, "", plan={"objective": "dpo"}, before=stages))
    house.mine()
    house.app.start(LOCAL, "a", "ann", "mine")
    run = house.walk()
    assert run.state == State.SUCCEEDED
    assert [one.objective for one in run.rules.plan.stages] == ["sft", "dpo"]
    candidate, control = house.trainer.plans
    assert candidate == run.rules.plan
    assert (control.objective, control.before) == ("sft", ())


def test_a_folder_of_ones_own_comes_beside_what_is_shipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path)
    recipes = recipes_of(RetrainSettings(recipes=str(tmp_path)))
    assert recipes.get("mine").version == 2
    assert len(recipes.all()) == len(PURPOSES) + 2
    with pytest.raises(InvalidArgument, match=r"no recipe 'yours'; choose from aot, .*, mine"):
        recipes.get("yours")
    written(tmp_path, (SHIPPED / "dpo.toml").read_text(), "dpo")
    with pytest.raises(InvalidArgument, match=r"dpo\.toml: recipe: there is already one"):
        recipes.all()
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SystemExit):
            recipes_of(RetrainSettings(recipes=str(folder)))
    said = capsys.readouterr().err
    assert "TRIMTAB_RETRAIN_RECIPES: dpo.toml: recipe: there is already one called dpo" in said
    assert "absent is no folder" in said


def test_the_recipe_comes_before_the_policy_and_the_policy_before_the_deployment(
    tmp_path: Path,
) -> None:
    house = house_of(read_recipe(written(tmp_path)))
    house.app = replace(house.app, rules=replace(house.rules, plan=TrainingPlan(seed=9, beta=0.4)))
    told = {"max_steps": 20, "beta": 0.3}
    house.policy(LOCAL, plan=told, thresholds={"win_rate": 0.7, "error": 0.01})
    rules = house.app.start(LOCAL, "a", "ann", "mine").rules
    assert rules.plan == TrainingPlan(
        seed=9, beta=0.3, max_steps=5, objective="robust_dpo", smoothing=0.2
    )
    assert rules.thresholds == Thresholds(win_rate=0.6, error=0.01)
    assert (rules.recipe, rules.recipe_version) == ("mine", 2)
    assert (rules.caps.sources, rules.caps.least_confidence) == (("edit", "arena_vote"), 0.5)
    plain = house.app.start(LOCAL, "b", "ann").rules
    assert (plain.recipe, plain.plan.objective, plain.plan.max_steps) == ("", "dpo", 20)


def test_a_policy_names_the_recipe_of_its_runs_unless_another_is_asked_for(tmp_path: Path) -> None:
    mine = read_recipe(written(tmp_path))
    house = house_of(mine)
    named = {"mine": mine, "kto": RecipeFolders().get("kto")}
    house.app = replace(house.app, recipe_of=named.__getitem__)
    told = registry_pb2.Recipe(name="mine", max_steps=20)
    policy = decode_policy(registry_pb2.Policy(name=LOCAL.name, recipe=told))
    assert (policy.recipe, policy.plan) == ("mine", {"max_steps": 20})
    house.policies.policies[LOCAL] = policy
    # By a schedule, by an alarm, by a person; and what it would be trained on.
    begun = house.app.on_schedule(policy, house.time)
    assert (begun.rules.recipe, begun.rules.plan.max_steps) == ("mine", 5)
    assert house.app.start(LOCAL, "a", "ann").rules.recipe == "mine"
    assert house.app.start(LOCAL, "b", "ann", "kto").rules.recipe == "kto"
    house.mine(12, 3)
    assert house.app.preview(LOCAL, str).left_out == {"OTHER_SOURCE": 15}
    assert house.app.rules_of(LOCAL).caps.sources == ("edit", "arena_vote")


def test_an_alarm_of_a_policy_whose_recipe_is_gone_starts_nothing_and_says_why() -> None:
    house = House()
    house.policy(LOCAL, recipe="gone")
    house.alarm("a1")
    assert house.counts("retrain.alarms")["abstainedUNKNOWN_RECIPE"] == 1
    assert house.runs() == []
    with pytest.raises(InvalidArgument, match="no recipe 'gone'"):
        house.app.start(LOCAL, "a", "ann")
    # Whoever only looks is told by the policy's own rules.
    assert house.app.rules_of(LOCAL) == house.rules


def test_a_snapshot_has_what_the_recipe_takes() -> None:
    sure = {"confidence": 0.9, "source": PairSource.EDIT}
    pairs = [
        pair(0, TRAINED[0], **sure),
        pair(1, TRAINED[1], **{**sure, "confidence": 0.4}),
        pair(2, TRAINED[2], **{**sure, "source": PairSource.IMPORT}),
    ]
    found = select(pairs, {}, Caps(sources=("edit",), least_confidence=0.5))
    assert [one.pair_id for one in found.train] == ["p000"]
    assert found.left_out == {"LOW_CONFIDENCE": 1, "OTHER_SOURCE": 1}


@pytest.mark.parametrize(("name", "control"), [("kto", "assistant-v2"), ("sft", "")])
def test_a_run_trains_by_its_recipe_and_sft_needs_no_control(name: str, control: str) -> None:
    house = house_of(RecipeFolders().get(name))
    house.mine()
    house.app.start(LOCAL, "a", "ann", name)
    run = house.walk()
    assert run.state == State.SUCCEEDED
    assert (run.model_version, run.control_version) == ("assistant-v1", control)
    assert run.rules.plan.objective == name


async def test_the_api_takes_recipes_by_name_and_says_which_there_are() -> None:
    house = House()
    house.app = replace(house.app, recipe_of=RecipeFolders().get)
    house.mine(12, 3)
    servicer = house.servicer(RecipeFolders().all)
    listed = await servicer.ListRecipes(pb.ListRecipesRequest(), LOCALS)
    named = {one.name: one for one in listed.recipes}
    assert list(named) == sorted([*PURPOSES, "sft_dpo"])
    assert named["robust_dpo"].training["smoothing"] == "0.1"
    assert named["cut"].sources == ["user_guided_rewrite", "demonstration"]
    assert named["cut"].data == PURPOSES["cut"].data
    await servicer.StartRetrain(pb.StartRetrainRequest(recipe="ipo"), LOCALS)
    [run] = (await servicer.ListRuns(pb.ListRunsRequest(), LOCALS)).runs
    assert (run.recipe, run.recipe_version, run.objective) == ("ipo", 1, "ipo")
    preview = pb.PreviewSnapshotRequest(recipe="figa")
    assert (await servicer.PreviewSnapshot(preview, LOCALS)).snapshot.train_pairs == 12
    for call in (
        servicer.StartRetrain(pb.StartRetrainRequest(recipe="ppo"), LOCALS),
        servicer.PreviewSnapshot(pb.PreviewSnapshotRequest(recipe="ppo"), LOCALS),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await call
        assert (refused.value.reason, refused.value.field) == ("UNKNOWN_RECIPE", "recipe")


def test_the_table_of_objectives_has_them_all() -> None:
    text = (SHIPPED.parent / "OBJECTIVES.md").read_text()
    for name, purpose in PURPOSES.items():
        assert f"\n| `{name}` | {purpose.when} | {purpose.data} |\n" in text
