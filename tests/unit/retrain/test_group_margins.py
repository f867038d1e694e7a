"""How far a training took each group of people, and how it weighs them."""

from __future__ import annotations

from dataclasses import replace

from services.retrain.adapters.mlflow_runs import _figures
from services.retrain.adapters.recipes import RecipeFolders
from services.retrain.codec import encode_run
from services.retrain.domain.training import Trained, TrainingStep
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import LOCAL

FIRST = TrainingStep(1, 0.7, 0.0, 0.0, 2.0, 0.0, 1.0, group_margins={"longer": 0.2, "shorter": 0.1})
SECOND = replace(FIRST, step=2, group_margins={"shorter": 0.4}, preference={"shorter": 1.0})


def test_a_run_tells_each_groups_margin_in_the_last_step_that_had_it():
    house = House()
    house.app = replace(house.app, recipe_of=RecipeFolders().get)
    house.mine()
    run = house.app.start(LOCAL, "a", "ann", "maxmin")
    house.trainer.made[f"{run.run}/maxmin"] = Trained("adapters/x", (FIRST, SECOND), 1.0)
    ended = house.walk()
    assert ended.group_margins == {"longer": 0.2, "shorter": 0.4}
    assert dict(encode_run(ended).group_margins) == {"longer": 0.2, "shorter": 0.4}
    assert dict(encode_run(ended).preference) == ended.preference == {"shorter": 1.0}


def test_mlflow_has_a_metric_for_each_group():
    told = dict(_figures(replace(FIRST, group_margins={"longer: élan (new)": 0.2})))
    assert told["group_margin/longer- élan -new-"] == 0.2
    assert told["margin"] == 0.0 and "step" not in told
    assert dict(_figures(SECOND))["preference/shorter"] == 1.0
