"""The keyring's tables, in a database of their own that every process of a deployment opens."""

import sqlalchemy as sa

METADATA = sa.MetaData()

KEYS = sa.Table(
    "keys",
    METADATA,
    # Keyring.pseudonym of the owner.
    sa.Column("owner", sa.String, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("id", sa.String, nullable=False, unique=True),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("destroyed", sa.Float, nullable=False, server_default="0"),
    sa.Column("former_id", sa.String, nullable=False, server_default=""),
    sa.Column("since", sa.Float, nullable=False, server_default="0"),
)
CHANGES = sa.Table(
    "changes",
    METADATA,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("key_id", sa.String, nullable=False),
    sqlite_autoincrement=True,
)
PEPPER = sa.Table(
    "pepper",
    METADATA,
    sa.Column("one", sa.Integer, primary_key=True),
    sa.Column("secret", sa.LargeBinary, nullable=False),
)
