"""Names, counts and texts of the supervised stack, without starting anything."""

from pathlib import Path

import pytest
from supervisor.datatypes import dict_of_key_value_pairs

from infra.local.__main__ import as_table, parser
from infra.local.kafka import properties
from infra.local.parts import java_major
from infra.local.programs import programs
from infra.local.settings import load
from infra.local.stack import LocalStack, PartState, Starts
from infra.local.supervisor import Supervisor, _quoted


def test_every_service_is_a_program_after_the_real_parts(tmp_path: Path) -> None:
    found = programs(load(tmp_path))
    assert list(found)[:3] == ["kafka", "mlflow", "vllm"]
    assert [one.is_service for one in found.values()] == [False] * 3 + [True] * 9
    assert found["drift"].command[1:] == ("-m", "services.drift.main")


def test_vllm_serves_the_base_under_its_name(tmp_path: Path) -> None:
    vllm = programs(load(tmp_path))["vllm"]
    at = vllm.command.index("--served-model-name")
    assert vllm.command[at + 1] == "smollm2-135m-instruct"
    assert vllm.environment["VLLM_LORA_RESOLVER_CACHE_DIR"] == str(tmp_path / "adapters")


def test_what_answers_users_goes_before_what_is_logged_of_it(tmp_path: Path) -> None:
    found = programs(load(tmp_path))
    program_of = Supervisor(tmp_path)._program
    yields = {
        name
        for name, one in found.items()
        if str(program_of(one)["command"]).startswith("'nice' '-n' '10' ")
    }
    assert found.keys() - yields == {"vllm", "gateway"}


def test_json_and_percent_survive_the_configuration_file() -> None:
    value = '{"key": "50%"}'
    read = dict_of_key_value_pairs(f"A={_quoted(value)},B={_quoted('b')}".replace("%%", "%"))
    assert read == {"A": value, "B": "b"}


def test_a_value_that_cannot_be_carried_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot contain"):
        _quoted("it's")


def test_an_unknown_part_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such part: kafak; choose from kafka, mlflow, vllm"):
        LocalStack(load(tmp_path)).up(only=["kafak"])


def test_starts_count_distinct_times_and_ignore_never() -> None:
    starts = Starts()
    assert [starts.seen(at) for at in (0, 10, 10, 14, 0, 20)] == [0, 1, 1, 2, 2, 3]


def test_kafka_makes_no_topic_by_itself(tmp_path: Path) -> None:
    lines = properties(load(tmp_path))
    assert lines["auto.create.topics.enable"] == "false"
    assert lines["transaction.state.log.min.isr"] == "1"
    assert lines["listeners"] == "PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093"


def test_the_table_has_a_row_for_each_part() -> None:
    rows = [PartState("kafka", "RUNNING", 12, 3, 19092, "ok")]
    assert as_table(rows).splitlines()[1].split() == "kafka RUNNING 12 3 s 19092 ok".split()


def test_parts_are_chosen_by_commas() -> None:
    assert parser().parse_args(["up", "--only", "kafka, vllm"]).only == ["kafka", "vllm"]


@pytest.mark.parametrize(
    ("shown", "major"),
    [('openjdk version "17.0.15" 2025', 17), ('java version "1.8.0_292"', 1), ("", 0)],
)
def test_the_java_version_is_read(shown: str, major: int) -> None:
    assert java_major(shown) == major
