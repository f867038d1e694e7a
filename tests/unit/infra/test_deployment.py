"""What a deployment does besides serving: databases and waiting, without a network."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.deployment import __main__ as deployment
from infra.deployment import databases
from infra.deployment.waiting import NotThere, wait
from services.drift.adapters.tables import METADATA
from shared.configuration.settings import CommonSettings
from shared.state import migrations
from shared.state.engine import open_engine


def environment(folder: Path) -> dict[str, str]:
    return {
        "TRIMTAB_DRIFT_DATABASE_URL": f"sqlite:///{folder / 'drift' / 'state.db'}",
        "TRIMTAB_KEYRING_URL": f"sqlite:///{folder / 'keyring' / 'keys.db'}",
        "TRIMTAB_KAFKA": "127.0.0.1:1",
    }


def test_databases_are_named_by_their_owners(tmp_path: Path) -> None:
    assert set(databases.named(environment(tmp_path))) == {"drift", "keyring"}


def test_every_database_gets_the_newest_tables(tmp_path: Path) -> None:
    lines = databases.migrate(environment(tmp_path))
    assert [line.partition(":")[0] for line in lines] == ["drift", "keyring"]
    assert lines[0].endswith(migrations.newest(databases.revisions_of("drift")))
    engine = open_engine(environment(tmp_path)["TRIMTAB_DRIFT_DATABASE_URL"])
    assert set(METADATA.tables) <= set(sa.inspect(engine).get_table_names())
    engine.dispose()
    assert databases.migrate(environment(tmp_path)) == lines


def test_what_does_not_answer_is_named(tmp_path: Path) -> None:
    told = CommonSettings(kafka="127.0.0.1:1")
    with pytest.raises(NotThere, match="kafka does not answer after 0 s"):
        wait(told, environment(tmp_path), within_s=0.0)


def test_a_wrong_command_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert deployment.main(["migrate"]) == 2
    assert "{migrations,topics,wait,check}" in capsys.readouterr().err
