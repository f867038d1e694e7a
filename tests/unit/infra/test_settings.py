"""stack.toml as it ships, and what is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.local.environment import as_shell, databases, environment, own
from infra.local.settings import FILE, StackSettings, load, load_on_free_ports


def broken(tmp_path: Path, old: str, new: str) -> Path:
    file = tmp_path / "stack.toml"
    text = FILE.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def test_the_shipped_file_gives_the_documented_ports(tmp_path: Path) -> None:
    ports = load(tmp_path).ports()
    assert ports["kafka"] == (19092, 19093)
    assert ports["gateway"] == (8080, 21100, 4317)
    assert ports["registry"] == (21007, 21107)
    assert len(ports) == 12


def test_an_offset_moves_every_port_and_nothing_else(tmp_path: Path) -> None:
    before, after = load(tmp_path), load(tmp_path, ports_offset=7)
    for part, ports in before.ports().items():
        assert after.ports()[part] == tuple(port + 7 for port in ports)
    assert after.vllm.max_model_len == before.vllm.max_model_len


def test_free_ports_are_all_different(tmp_path: Path) -> None:
    moved = load_on_free_ports(tmp_path).ports().values()
    flat = [port for ports in moved for port in ports]
    assert len(set(flat)) == len(flat) == 23


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load(tmp_path)
    with pytest.raises(ValidationError):
        settings.host = "0.0.0.0"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("heap_mb = 768", "heap_mb = 0", "kafka.heap_mb"),
        ("workers = 1", 'workers = "many"', "mlflow.workers"),
        ("port = 8090", "port = 70000", "services.dashboard.port"),
        ('api = "http"', 'api = "carrier pigeon"', "services.gateway.api"),
        ("partitions = 4", "partitions = 4\ntypo = 1", "kafka.typo"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    with pytest.raises(ValidationError) as caught:
        load(tmp_path, file=broken(tmp_path, old, new))
    assert named in [".".join(map(str, one["loc"])) for one in caught.value.errors()]


def test_a_port_given_twice_names_both_parts(tmp_path: Path) -> None:
    file = broken(tmp_path, "port = 21002", "port = 21001")
    with pytest.raises(ValidationError, match="21001 is assigned to both interaction and feedback"):
        load(tmp_path, file=file)


def test_services_learn_the_stack_from_the_environment(tmp_path: Path) -> None:
    variables = environment(load(tmp_path, parts=tmp_path / "parts"))
    assert variables["TRIMTAB_KAFKA"] == "127.0.0.1:19092"
    assert variables["TRIMTAB_GATEWAY_URL"] == "http://127.0.0.1:8080"
    assert variables["TRIMTAB_REWARD_ADDRESS"] == "127.0.0.1:21003"
    assert variables["TRIMTAB_RETRAIN_METRICS_PORT"] == "21106"
    assert variables["TRIMTAB_FEEDBACK_DATABASE_URL"] == f"sqlite:///{tmp_path}/feedback/state.db"
    assert variables["TRIMTAB_GATEWAY_KEYS"] == '{"local-dev-key": "local"}'
    assert variables["TRIMTAB_BASE_MODEL"] == f"{tmp_path}/parts/models/smollm2-135m-instruct"


def test_the_environment_file_quotes_for_the_shell() -> None:
    assert as_shell({"A": "x", "B": '{"k": "v"}'}) == 'export A=x\nexport B=\'{"k": "v"}\'\n'


def test_data_and_parts_are_the_callers(tmp_path: Path) -> None:
    settings: StackSettings = load(tmp_path / "data", parts=tmp_path / "parts")
    assert settings.adapters == tmp_path / "data" / "adapters"
    assert settings.encoder == tmp_path / "parts" / "models" / "all-minilm-l6-v2"


def test_replicas_have_ports_of_their_own_and_the_services_settings(tmp_path: Path) -> None:
    settings = load_on_free_ports(tmp_path, database="postgresql", replicas={"drift": 3})
    assert [n for n, one in settings.services.items() if one.replica_of] == ["drift-2", "drift-3"]
    flat = [port for ports in settings.ports().values() for port in ports]
    assert len(set(flat)) == len(flat) == 23 + 1 + 2 * 2
    shared, second = environment(settings), own(settings, "drift-2")
    assert second["TRIMTAB_DRIFT_PORT"] == str(settings.services["drift-2"].port)
    assert second["TRIMTAB_DRIFT_DATABASE_URL"] == shared["TRIMTAB_DRIFT_DATABASE_URL"]
    assert shared["TRIMTAB_DRIFT_ADDRESS"] == f"127.0.0.1:{settings.services['drift'].port}"
    assert databases(settings)[:2] == ["keyring", "gateway"]
    assert "drift-2" not in databases(settings)


def test_state_lies_in_postgresql_if_the_environment_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_LOCAL_DATABASE", "postgresql")
    monkeypatch.setenv("TRIMTAB_LOCAL_REPLICAS", "drift=2, registry=2")
    settings = load(tmp_path)
    variables = environment(settings)
    url = "postgresql+psycopg://trimtab@127.0.0.1:15432"
    assert variables["TRIMTAB_DRIFT_DATABASE_URL"] == f"{url}/drift"
    assert variables["TRIMTAB_KEYRING_URL"] == f"{url}/keyring"
    assert settings.services["registry-2"].ports == (22007, 22107)
    assert "postgresql" in settings.ports()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TRIMTAB_LOCAL_REPLICAS": "drift=2"}, "need TRIMTAB_LOCAL_DATABASE=postgresql"),
        ({"TRIMTAB_LOCAL_REPLICAS": "drift"}, "must look like service=number"),
        ({"TRIMTAB_LOCAL_REPLICAS": "kafka=2"}, "no such service: kafka"),
        ({"TRIMTAB_LOCAL_REPLICAS": "gateway=2"}, "gateway serves HTTP"),
        ({"TRIMTAB_LOCAL_DATABASE": "oracle"}, "sqlite"),
    ],
)
def test_a_wrong_wish_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=words):
        load(tmp_path)
