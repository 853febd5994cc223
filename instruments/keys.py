"""CURVE keys of a lab: one pair for the controller, one for each host, and the registry of who is let in."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from instruments.errors import LabError
from instruments.files import write_whole

Role = Literal["controller", "host", "operator", "observer"]
Z85Key = Annotated[str, Field(min_length=40, max_length=40)]

REGISTRY = "registry.json"
CONTROLLER = "controller"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class PublicKey(BaseModel):
    """An entry of the registry: who holds the secret half of ``public_key``, and what they may do."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: str
    role: Role
    public_key: Z85Key


class SecretKey(PublicKey):
    """A key file: a registry entry with its secret half. Never leaves its machine."""

    secret_key: Z85Key = Field(repr=False)


class Registry(BaseModel):
    """All keys that the lab knows."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    version: Literal[1] = 1
    keys: tuple[PublicKey, ...] = ()

    def find(self, public_key: str) -> PublicKey | None:
        """Return the entry of a z85 public key, or None."""
        return self._by_key.get(public_key)

    @cached_property
    def _by_key(self) -> dict[str, PublicKey]:
        return {entry.public_key: entry for entry in self.keys}

    def named(self, name: str) -> PublicKey:
        """Return the entry of a name. Raises LabError."""
        for entry in self.keys:
            if entry.name == name:
                return entry
        raise LabError(f"the lab's registry knows no {name!r}; add it with create_lab_keys(folder, [{name!r}])")


def create_lab_keys(
    folder: Path, hosts: Sequence[str], *, operators: Sequence[str] = (), observers: Sequence[str] = ()
) -> Registry:
    """Make the key pairs that are missing (files 0600 in a folder 0700) and the registry; return the registry.

    Keys that exist are kept, so it may be called again with more names. A remote host gets a copy of its own
    ``NAME.key`` and of ``registry.json``, nothing else.

    Raises:
        LabError: a name that is no safe file name, a name that exists in another role, unusable files.
    """
    import zmq

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    wanted: list[tuple[str, Role]] = [(CONTROLLER, "controller")]
    wanted.extend((name, "host") for name in hosts)
    wanted.extend((name, "operator") for name in operators)
    wanted.extend((name, "observer") for name in observers)
    known = {entry.name: entry for entry in load_registry(folder).keys} if (folder / REGISTRY).exists() else {}
    for name, role in wanted:
        if not _NAME.fullmatch(name):
            raise LabError(f"{name!r} cannot name a key file; use letters, digits, '_', '-' and '.', at most 64")
        path = folder / f"{name}.key"
        if path.exists():
            secret = load_secret(folder, name)
        else:
            public, private = zmq.curve_keypair()
            secret = SecretKey(name=name, role=role, public_key=public.decode(), secret_key=private.decode())
            write_whole(path, secret.model_dump_json() + "\n", mode=0o600)
        if secret.role != role:
            raise LabError(f"{path} is the key of a {secret.role}, not of a {role}; choose another name")
        known[name] = PublicKey(name=name, role=role, public_key=secret.public_key)
    registry = Registry(keys=tuple(known[name] for name in sorted(known)))
    write_whole(folder / REGISTRY, json.dumps(registry.model_dump(mode="json"), indent=1) + "\n", mode=0o600)
    return registry


def load_registry(folder: Path) -> Registry:
    """Return the registry. Raises LabError where it is missing, unreadable or writable by others."""
    path = folder / REGISTRY
    text = _read(path, forbidden=0o022)
    try:
        return Registry.model_validate_json(text)
    except ValidationError as error:
        raise LabError(f"{path} is not a registry of keys ({error.error_count()} errors); make the keys anew") from None


def load_secret(folder: Path, name: str) -> SecretKey:
    """Return a key pair. Raises LabError where it is missing, broken, or open to anyone but its owner."""
    path = folder / f"{name}.key"
    text = _read(path, forbidden=0o077)
    try:
        secret = SecretKey.model_validate_json(text)
    except ValidationError:
        raise LabError(f"{path} is not a key file; delete it and make the keys anew") from None
    if secret.name != name:
        raise LabError(f"{path} is the key of {secret.name!r}; give it back its name")
    return secret


def _read(path: Path, *, forbidden: int) -> str:
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text()
    except OSError as error:
        raise LabError(f"cannot read {path} ({error.strerror}); make the keys with create_lab_keys") from None
    if mode & forbidden:
        raise LabError(f"{path} has mode {mode:04o}: others could read or change it; run: chmod 600 {path}")
    return text
