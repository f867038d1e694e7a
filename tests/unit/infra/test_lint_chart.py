"""The check that holds the chart's schema and table to the comments of its values."""

from pathlib import Path

import pytest

from infra.lint.chart import BEGIN, END, Undescribed, made, read, schema_of, table_of

VALUES = """
# -- Who answers.
gateway:
  # -- How many.
  # @schema {"minimum": 1}
  replicas: 2
  env: {} # -- Further variables.
# -- Who watches.
drift: # @like gateway
  replicas: 1
  # -- How often.
  every: 0.5
  env: {A: b}
# -- What it asks for.
resources: {limits: {memory: 1Gi}}
"""


def test_the_schema_has_every_key_with_its_words_and_no_other() -> None:
    schema = schema_of(read(VALUES))
    assert schema["additionalProperties"] is False
    gateway = schema["properties"]["gateway"]
    assert gateway["description"] == "Who answers."
    assert gateway["additionalProperties"] is False
    assert gateway["properties"]["replicas"] == {
        "description": "How many.",
        "type": "integer",
        "minimum": 1,
    }
    assert gateway["properties"]["env"] == {"description": "Further variables.", "type": "object"}


def test_keys_without_words_have_those_of_the_part_that_theirs_is_like() -> None:
    drift = schema_of(read(VALUES))["properties"]["drift"]
    assert drift["properties"]["replicas"]["minimum"] == 1
    assert drift["properties"]["every"] == {"description": "How often.", "type": "number"}


def test_a_value_in_braces_is_free() -> None:
    resources = schema_of(read(VALUES))["properties"]["resources"]
    assert resources == {"description": "What it asks for.", "type": "object"}


def test_a_key_without_words_is_named() -> None:
    with pytest.raises(Undescribed, match=r"gateway\.image"):
        read(VALUES.replace("  env: {} #", "  image: x\n  env: {} #"))


def test_the_table_names_what_is_alike_once() -> None:
    lines = table_of(read(VALUES)).splitlines()
    assert "| `gateway.replicas` | `2` | How many. |" in lines
    assert "| `drift` |  | Who watches. Its keys are those of `gateway`. |" in lines
    assert "| `drift.every` | `0.5` | How often. |" in lines
    assert not [line for line in lines if "drift.replicas" in line]


def test_the_table_takes_its_place_in_the_readme(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(VALUES)
    (tmp_path / "README.md").write_text(f"# Chart\n{BEGIN}\nold\n{END}\nThe end.\n")
    rules = tmp_path / "alerts.yml"
    rules.write_text("groups: []\n")
    wanted = made(tmp_path, rules)
    readme = wanted[tmp_path / "README.md"]
    assert readme.startswith(f"# Chart\n{BEGIN}\n| Key |")
    assert readme.endswith(f"|\n{END}\nThe end.\n")
    assert wanted[tmp_path / "files" / "alerts.yml"] == "groups: []\n"
