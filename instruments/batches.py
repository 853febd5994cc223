"""Members of a batch arrive one by one; what has come waits here until all are there. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterator

from instruments.driver import Capability
from instruments.messages import Command

REMEMBERED = 1_000


class Batches:
    """The batches that are still incomplete, and those that will never be done.

    A batch is all or nothing: one member that must be refused breaks it, and the members that come after are refused
    for the same reason. Nothing that waits here is done.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, ...], dict[str, Command]] = {}
        self._since: dict[tuple[str, ...], float] = {}
        self._broken: dict[tuple[str, ...], str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, command_id: object) -> bool:
        return any(command_id in members for members in self._waiting.values())

    def __iter__(self) -> Iterator[str]:
        return (command_id for members in self._waiting.values() for command_id in members)

    def waits(self, command: Command) -> bool:
        """True where other members of this command's batch wait for it."""
        return command.batch in self._waiting

    def broken(self, command: Command) -> str:
        """Why this command's batch will never be done, or ``""``."""
        return self._broken.get(command.batch, "")

    def add(self, command: Command, now_s: float) -> list[Command]:
        """Keep a member. Returns all members, in their order, once the last one has come; until then nothing."""
        members = self._waiting.setdefault(command.batch, {})
        self._since.setdefault(command.batch, now_s)
        members.setdefault(command.command_id, command)
        return [members[x] for x in command.batch] if len(members) == len(command.batch) else []

    def drop(self, batch: tuple[str, ...], broken: str = "") -> list[str]:
        """Forget a batch, and return the members that waited. With ``broken``, a reason, those to come are refused."""
        self._since.pop(batch, None)
        if broken:
            self._broken[batch] = broken
            if len(self._broken) > REMEMBERED:
                del self._broken[next(iter(self._broken))]
        return list(self._waiting.pop(batch, {}))

    def overdue(self, now_s: float, longest_s: float) -> list[tuple[str, ...]]:
        """Batches that have waited for a member longer than ``longest_s``."""
        return [batch for batch, since in self._since.items() if now_s - since > longest_s]

    def all(self) -> list[tuple[str, ...]]:
        """All incomplete batches."""
        return list(self._waiting)


def fault_of_member(command: Command, capability: Capability) -> str:
    """Why this command cannot be a member of the batch that it names, or ``""``."""
    batch = command.batch
    if command.command_id not in batch or len(set(batch)) != len(batch):
        return f"command {command.command_id} must be named in its batch once, like every other member"
    if len(batch) > capability.batch:
        return f"a batch of {len(batch)}: {capability.name} takes {capability.batch} samples at once"
    return ""


def fault_of_batch(commands: list[Command], programme: tuple[str, ...]) -> str:
    """Why these commands cannot be one act, or ``""``."""
    first = commands[0]
    if len({command.sample for command in commands}) != len(commands):
        return "a sample is in the batch twice"
    for command in commands[1:]:
        if command.capability != first.capability:
            return f"{command.command_id} asks for {command.capability}, {first.command_id} for {first.capability}"
        for name in programme:
            one, other = first.parameters.get(name), command.parameters.get(name)
            if one != other:
                return (
                    f"a batch has one {name}: {first.command_id} says {one!r:.80}, {command.command_id} {other!r:.80}"
                )
    return ""
