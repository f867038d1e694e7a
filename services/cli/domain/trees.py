"""Chats that are kept as a tree: each message names the one before it. Where a question was edited or an answer
asked for again, the tree has branches.

All branches are imported, each message at its depth. The one that was current comes last, as what the user went
on with. A message that takes another's place is an edit (the user's) or a regeneration (any other), and names
what it replaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from services.cli.domain.records import Line
from shared.language.identifiers import stable_id
from shared.language.messages import content_of, default_turn_id


@dataclass(frozen=True, slots=True)
class Node:
    """`lines`: what it says, one turn after the other; none for a root or a hidden message."""

    id: str
    parent: str
    lines: tuple[Line, ...] = ()


# What may follow, by role and content: the same said twice in one place is one turn.
_Next = dict[tuple[str, str], "_Said"]


@dataclass(slots=True)
class _Said:
    line: Line
    is_current: bool = False
    next: _Next = field(default_factory=dict)


def flattened(nodes: Mapping[str, Node], current: str) -> list[Line]:
    """`current`: the last node of the branch that the user saw last. A node whose parent is not there begins a
    branch of its own, and a ring of parents ends where it closes."""
    first: _Next = {}
    after: dict[str, _Next] = {}
    path = {node.id for node in _upwards(nodes, current)}
    for node in _parents_first(nodes):
        following = after.get(node.parent, first)
        for line in node.lines:
            key = (line.message.role, content_of(line.message))
            said = following.setdefault(key, _Said(line))
            said.is_current |= node.id in path
            following = said.next
        after[node.id] = following
    return list(_walked(first))


def branch(nodes: Mapping[str, Node], last: str) -> list[Line]:
    """What was said up to a node, with it."""
    return [line for node in reversed(list(_upwards(nodes, last))) for line in node.lines]


def _upwards(nodes: Mapping[str, Node], start: str) -> Iterator[Node]:
    seen: set[str] = set()
    at = nodes.get(start)
    while at is not None and at.id not in seen:
        seen.add(at.id)
        yield at
        at = nodes.get(at.parent)


def _parents_first(nodes: Mapping[str, Node]) -> Iterator[Node]:
    seen: set[str] = set()
    for name in nodes:
        waiting = []
        for node in _upwards(nodes, name):
            if node.id in seen:
                break
            waiting.append(node)
        seen.update(node.id for node in waiting)
        yield from reversed(waiting)


def _walked(first: _Next) -> Iterator[Line]:
    """Each branch to its end before the next begins. Trees are deeper than the interpreter's stack."""
    known: set[str] = set()
    # Of each depth: what is still to come there, and the turn that was there last.
    open_ = [(_ordered(first), "")]
    before = [""]
    while open_:
        rest, replaced = open_[-1]
        said = next(rest, None)
        if said is None:
            open_.pop()
            before.pop()
            continue
        line = _placed(said.line, len(open_) - 1, before[-1], replaced, known)
        yield line
        name = line.turn_id or default_turn_id(len(open_) - 1, line.message)
        open_[-1] = (rest, name)
        open_.append((_ordered(said.next), ""))
        before.append(name)


def _ordered(following: _Next) -> Iterator[_Said]:
    return iter(sorted(following.values(), key=lambda said: said.is_current))


def _placed(line: Line, depth: int, parent: str, replaced: str, known: set[str]) -> Line:
    """A turn's id is made of place and content, and so has to be made of more where another branch says the
    same in the same place."""
    name = default_turn_id(depth, line.message)
    is_first = name not in known
    known.add(name)
    made = "" if is_first else f"{depth:06d}-{stable_id(parent, name)[:10]}"
    signal = "" if not replaced else "edit" if line.message.role == "user" else "regeneration"
    return replace(line, place=depth, turn_id=made, signal=signal, replaces=replaced)
