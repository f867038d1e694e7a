"""What was stored before a revision is what the service goes on with."""

from pathlib import Path

import sqlalchemy as sa

from infra.local.paths import REPO
from services.feedback.personas.adapters.sql_personas import SqlPersonaReads
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.state import migrations
from shared.state.database import Database
from shared.state.engine import open_engine

REVISIONS = REPO / "services" / "feedback" / "migrations"


def test_a_persona_of_before_is_its_own_first_version_that_is_kept(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    engine = open_engine(url)
    migrations.upgrade(engine, REVISIONS, "0003")
    text = "This user wants shorter answers."
    persona = events.Persona(tenant="local", user_id="ada", text=text, version=3)
    insert = "INSERT INTO users VALUES (:tenant, :user, 9, 1, :persona)"
    with engine.begin() as connection:
        for user, value in (("ada", persona.SerializeToString()), ("ben", None)):
            row = {"tenant": "local", "user": user, "persona": value}
            connection.execute(sa.text(insert), row)
    engine.dispose()
    reads = SqlPersonaReads(Database(url, revisions=REVISIONS))
    kept, more, total = reads.versions("local", "ada", None, 10)
    assert ([(one.version, one.text) for one in kept], more, total) == ([(3, text)], False, 1)
    found = reads.user("local", "ada")
    assert (found.turns, found.persona_version, found.persona_text) == (9, 3, text)
    listed, _, total = reads.personas("local", "", 10)
    assert ([one.user_id for one in listed], total) == (["ada"], 1)
    assert reads.user("local", "ben").persona is None
