"""Years of pairs, personas and snapshots: what is kept of people's words stays the same size."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.retrain.adapters.forgetting import ROWS, AgedSnapshots
from services.retrain.adapters.snapshots import DATASHEET, ParquetSnapshots, read_pairs
from services.retrain.adapters.tables import PAIRS, PERSONAS
from services.retrain.app.retrain import selected
from services.retrain.domain.selection import select
from services.retrain.domain.snapshots import Persona
from shared.language.policies import PolicyKey
from shared.language.retention import Keep, RetentionPolicy
from shared.privacy.retention import Retention
from shared.state.database import Database
from tests.contract.state import opened
from tests.unit.retrain.house import START, House
from tests.unit.retrain.pairs import HELD_OUT, TRAINED, pair

DAYS, EACH = 3 * 365, 10
POLICIES = (PolicyKey("local"), PolicyKey("brief"))
PEOPLE = [*TRAINED[:30], *HELD_OUT[:10]]
POLICY = RetentionPolicy({"*": Keep(store_days=90, archive_days=180), "brief": Keep(30, 60)})


class Years:
    def __init__(self, database: Database, folder: Path) -> None:
        self.house, self.now = House(database), START
        self.snapshots = ParquetSnapshots(str(folder))
        self.retention = Retention(database, ROWS, POLICY, self.clock, seen_days=3)
        self.aged = AgedSnapshots(database, self.snapshots, POLICY, self.clock)

    def clock(self) -> datetime:
        return self.now

    def pass_days(self, number: int, mixed: bool = False) -> None:
        """Ten days in which people said something, and a run was made of it."""
        self.now += timedelta(days=EACH)
        with self.house.store.begin() as session:
            for n in range(40):
                name = number * 100 + n
                tenant = ("local", "brief")[n % 4 == 0]
                one = pair(name, PEOPLE[n], tenant=tenant, create_time=self.now)
                session.add_pair(one)
                session.set_persona(Persona(tenant, f"u{name}", "Brief.", 1, self.now))
            if mixed:
                pairs = [one for key in POLICIES for one in session.pairs(key, 1000)]
                self.snapshots.keep(select(pairs, {}, self.house.rules.caps))
            else:
                for key in POLICIES:
                    self.snapshots.keep(selected(session, key, self.house.rules))
        self.retention.once()
        self.aged.once()

    def sizes(self) -> tuple[int, int, int]:
        with self.house.database.read() as connection:
            counts = [
                connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (PAIRS, PERSONAS)
            ]
        return counts[0], counts[1], len(self.snapshots.digests())


@pytest.fixture
def years(database_url: str, tmp_path: Path) -> Iterator[Years]:
    with opened("retrain", database_url) as database:
        yield Years(database, tmp_path / "snapshots")


def test_sizes_are_flat_over_three_years(years: Years) -> None:
    sizes = []
    for number in range(DAYS // EACH):
        years.pass_days(number)
        sizes.append(years.sizes())
    # 30 pairs of "local" every ten days for 90, 10 of "brief" for 30; a snapshot of each every ten days, for
    # 180 and for 60.
    assert sizes[20] == (30 * 10 + 10 * 4, 30 * 10 + 10 * 4, 19 + 7)
    assert set(sizes[20:]) == {sizes[20]}
    with years.house.database.read() as connection:
        oldest = connection.execute(sa.select(sa.func.min(PAIRS.c.create_time))).scalar_one()
    assert oldest >= (years.now - timedelta(days=90)).timestamp()


def test_a_tenant_with_a_shorter_rule_leaves_snapshots_of_several_earlier(years: Years) -> None:
    """Snapshots of before there were policies."""
    for number in range(12):
        years.pass_days(number, mixed=True)
    by_age = []
    for digest in years.snapshots.digests():
        place = years.snapshots.place_of(digest)
        pairs = [one for part in ("train", "held_out") for one in read_pairs(place, part)]
        newest = datetime.fromisoformat(years.snapshots.sheet(digest)["newest"])
        tenants = {one.tenant for one in pairs}
        by_age.append(((years.now - newest).days, "brief" in tenants, "local" in tenants))
    assert {is_there for age, is_there, _ in by_age if age > 60} == {False}
    assert {is_there for age, is_there, _ in by_age if age <= 60} == {True}
    assert all(others for _, _, others in by_age)
    before = {digest: years.snapshots.written(digest) for digest in years.snapshots.digests()}
    years.aged.once()
    assert {digest: years.snapshots.written(digest) for digest in before} == before


def test_a_damaged_snapshot_keeps_no_other(years: Years) -> None:
    years.pass_days(0)
    first, *others = years.snapshots.digests()
    (Path(years.snapshots.place_of(first)) / DATASHEET).write_text("{")
    years.now += timedelta(days=181)
    with pytest.raises(ValueError, match="Expecting"):
        years.aged.once()
    assert others
    assert years.snapshots.digests() == [first]
