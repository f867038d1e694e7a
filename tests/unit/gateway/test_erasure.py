"""What the gateway holds of a user: links go at once; the spool is waited for until it has let go."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.gateway.adapters.erasing import GatewayRemover
from services.gateway.adapters.link_table import TABLES
from services.gateway.adapters.links import SqlLinks
from services.gateway.adapters.spool import FileSpool
from services.gateway.domain.linking import Link
from shared.language.messages import text_message
from shared.language.turns import Turn
from shared.privacy.erasure import Erasure
from shared.state.database import Database
from shared.state.jobs import Postpone

ADA = Erasure("e1", "local", "ada", ("c-ada",))


def spooled(user: str) -> Turn:
    return Turn("local", f"c-{user}", 0, text_message("user", "marmalade"), user)


def test_a_user_leaves_the_spool_with_what_was_forwarded(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path / "spool")
    remover = GatewayRemover(spool, lambda *_: None)
    spool.append([spooled("ada"), spooled("ben"), spooled("ada")])
    assert remover.survey(ADA).counts == {"spool": 2}
    assert remover.survey(Erasure("e1", "another", "ada")).counts == {"spool": 0}
    with pytest.raises(Postpone):
        remover.remove_files(ADA)
    spool.head("local")
    spool.advance("local")
    remover.remove_files(ADA)
    assert list((tmp_path / "spool").rglob("*.turns")) == []
    spool.append([spooled("ben")])
    assert remover.survey(Erasure("e2", "local", "ben")).counts == {"spool": 1}
    assert spool.head("local").records == 1
    spool.close()


def test_links_go_from_memory_and_from_the_database(tmp_path: Path) -> None:
    database = Database("sqlite://", TABLES)
    links = SqlLinks(database)
    for tenant, user in (("local", "ada"), ("local", "ben"), ("another", "ada")):
        made = datetime.now(UTC)
        links.remember(Link(tenant, f"h-{user}", f"a-{user}", "", f"c-{user}", "t0", "t1", made))
    links.once()
    with database.begin() as transaction:
        remover = GatewayRemover(FileSpool(tmp_path), links.memory.forget)
        assert remover.remove_rows(ADA, transaction) == {"links": 1}
    left = [(link.tenant, link.conversation_id) for link in links.memory._links]
    assert left == [("local", "c-ben"), ("another", "c-ada")]
    with database.begin() as transaction:
        assert remover.remove_rows(ADA, transaction) == {"links": 0}
