"""What the commands do, over ports: ask, collect, import, follow a turn. No protocol and no terminal here."""
