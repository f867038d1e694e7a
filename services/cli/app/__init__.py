"""What the commands do, over ports: query, collect, import, trace a turn. No protocol and no terminal here."""
