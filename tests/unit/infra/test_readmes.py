"""READMEs name every setting with its default, and none that is gone."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from infra.local.paths import REPO
from shared.configuration.settings import CommonSettings
from tests.settings import SERVICES, settings_of

NOT_USED = {"dashboard": {"DRAIN_S", "CALL_TIMEOUT_S", "MAX_MESSAGE_MB"}}
# Refused at the start, and read from the stack's own variables.
NOT_SETTINGS = {"interaction": {"RETENTION"}, "dashboard": {"PARTS"}}


def section(readme: Path, title: str) -> str:
    _, found, rest = readme.read_text().partition(f"\n## {title}")
    assert found, f"{readme} has no section {title!r}"
    return re.split(r"\n## ", rest)[0]


def table(text: str) -> dict[str, str]:
    """Field -> default, of rows such as | `A`, `B` | 1, 2 | words |."""
    told: dict[str, str] = {}
    for row in re.findall(r"^\| (`[A-Z].*?) \| (.*?) \|", text, re.MULTILINE):
        names, defaults = ([one.strip().strip("`") for one in cell.split(", ")] for cell in row)
        told |= dict(zip(names, defaults, strict=True))
    return told


def matches(told: str, default: object) -> bool:
    if default is PydanticUndefined:  # a mapping, empty by default
        return told == "{}"
    if isinstance(default, bool):
        return told == str(default).lower()
    if isinstance(default, int | float):
        return float(Fraction(told)) == pytest.approx(float(default), abs=1e-12)
    return told == (str(default) if default not in ("", None) else "empty")


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_of_a_service_and_no_other(service: str) -> None:
    fields = settings_of(service).model_fields
    told = table(section(REPO / "services" / service / "README.md", "Settings"))
    left_out = NOT_USED.get(service, set()) | NOT_SETTINGS.get(service, set())
    assert set(told) == {name.upper() for name in fields} - left_out
    wrong = {
        name: told[name] for name in told if not matches(told[name], fields[name.lower()].default)
    }
    assert wrong == {}


def test_every_shared_setting_and_no_other() -> None:
    fields = CommonSettings.model_fields
    told = table(section(REPO / "shared" / "README.md", "Settings"))
    variables = {
        str(one.validation_alias or f"TRIMTAB_{name.upper()}"): one for name, one in fields.items()
    }
    told = {f"TRIMTAB_{name}": default for name, default in told.items()}
    assert set(told) == set(variables)
    wrong = {
        name: told[name] for name in told if not matches(told[name], default_of(variables[name]))
    }
    assert wrong == {}


def default_of(field: object) -> object:
    default: Any = getattr(field, "default", None)
    return default.get_secret_value() if hasattr(default, "get_secret_value") else default
