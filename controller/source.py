"""A YAML file that people write: its data, and in which line each key stands, so that mistakes can be pointed at."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from controller.errors import CampaignError

Model = TypeVar("Model", bound=BaseModel)


class Source:
    """The text of a campaign or a lab.

    Args:
        text: YAML.
        where: what the file is called in messages.
        what: what it describes, for messages: ``campaign`` or ``lab``.

    Attributes:
        data: the mapping that the text says.

    Raises:
        CampaignError: not YAML, not a mapping, or a key that is given twice, each with its line.
    """

    def __init__(self, text: str, where: str, *, what: str = "campaign") -> None:
        self.text, self.where, self.what = text, where, what
        try:
            self._tree = yaml.compose(text, Loader=yaml.SafeLoader)
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or str(error)
            raise CampaignError(f"{where}{line}: not YAML: {problem}. Check indentation, colons and quotes.") from error
        if not isinstance(data, dict):
            example = "name, space, objectives" if what == "campaign" else "instruments, safety"
            makes = "`athanor init`" if what == "campaign" else "`athanor lab init`"
            raise CampaignError(f"{where}:1: a {what} is a mapping of keys such as {example}. {makes} writes one.")
        if twice := list(_twice(self._tree)):
            raise CampaignError(
                "\n".join(
                    f"{where}:{again}: {key}: given twice (first in line {first}); only one would count. Remove one."
                    for key, first, again in twice
                )
            )
        self.data: dict[str, Any] = data

    @classmethod
    def read(cls, path: Path, *, what: str = "campaign") -> Source:
        """Read a file. Raises CampaignError where it cannot be read, too."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise CampaignError(f"{path}: {error.strerror or error}. Give the path of a {what} file.") from error
        except UnicodeDecodeError as error:
            raise CampaignError(
                f"{path}: not a text file ({error.reason}). A {what} is a YAML file in UTF-8."
            ) from error
        return cls(text, str(path), what=what)

    def line(self, *keys: Any) -> int:
        """The line of a key, or of the deepest one on the way to it that the file has."""
        return _locate(keys, self._tree)[1]

    def problem(self, keys: tuple[Any, ...], message: str) -> CampaignError:
        """The error that points at a key; where the message names one of the key's own settings, at that."""
        node = _node(keys, self._tree)
        if isinstance(node, yaml.MappingNode):
            named = [key.value for key, _ in node.value if f"'{key.value}'" in message or f"{key.value}:" in message]
            keys = (*keys, *named[:1])
        return CampaignError(f"{self.where}:{self.line(*keys)}: {'.'.join(map(str, keys))}: {message}")

    def check(self, model: type[Model], data: dict[str, Any] | None = None) -> Model:
        """The data as a model. Raises CampaignError with one line a problem, ``FILE:LINE: key: what. The fix.``"""
        try:
            return model.model_validate(self.data if data is None else data)
        except ValidationError as error:
            raise CampaignError("\n".join(self._explain(problem, model) for problem in error.errors())) from error

    def _explain(self, problem: Any, model: type[BaseModel]) -> str:
        location, line, depth = _locate(problem["loc"], self._tree)
        key = ".".join(map(str, location)) or self.what
        kind, message = problem["type"], problem["msg"]
        if kind == "extra_forbidden":
            known = _keys_at(location[:-1], model)
            near = difflib.get_close_matches(str(location[-1]), known, n=1)
            known_here = f"Remove it. Known here: {', '.join(sorted(known)) or 'none'}."
            return f"{self.where}:{line}: {key}: unknown key. {f'Did you mean {near[0]!r}?' if near else known_here}"
        if kind == "missing":
            place = " here" if depth else " at the top level"
            return f"{self.where}:{line}: {key}: missing. Add it{place}; see docs/{self.what}.md."
        given = problem.get("input")
        shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) or given is None else ""
        return f"{self.where}:{line}: {key}: {message.removeprefix('Value error, ')}{shown}."


def expand_path(text: str, base_dir: Path) -> Path:
    """Resolve a path of a file: environment variables, then relative to the file's folder."""
    expanded = os.path.expandvars(text)
    if "$" in expanded:
        name = expanded.split("$", 1)[1].strip("{").split("}")[0].split("/")[0]
        raise CampaignError(f"{text}: the environment variable {name} is not set. Set it, or write the path out.")
    path = Path(expanded).expanduser()
    return path if path.is_absolute() else base_dir / path


def _twice(root: yaml.Node | None) -> list[tuple[str, int, int]]:
    """Keys that stand twice in one mapping, which YAML readers silently resolve: (key, first line, second line)."""
    found: list[tuple[str, int, int]] = []
    seen: set[int] = set()
    waiting: list[yaml.Node | None] = [root]
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                waiting.append(value)
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    line = key.start_mark.line + 1
                    if (key.tag, key.value) in lines:
                        found.append((key.value, lines[key.tag, key.value], line))
                    lines.setdefault((key.tag, key.value), line)
    return sorted(found, key=lambda row: row[2])


def _keys_at(location: list[Any], root: type[BaseModel]) -> list[str]:
    """The keys that a section knows, found by walking the models; empty where it is not a model."""
    models: tuple[Any, ...] = (root,)
    for part in location:
        found: list[Any] = []
        for model in models:
            field = model.model_fields.get(part) if isinstance(part, str) and hasattr(model, "model_fields") else None
            found += _models_in(field.annotation) if field else ([model] if not isinstance(part, str) else [])
        models = tuple(found) or models
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _child(node: yaml.Node | None, part: Any) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((k, v) for k, v in node.value if k.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _node(keys: tuple[Any, ...], tree: yaml.Node | None) -> yaml.Node | None:
    node = tree
    for part in keys:
        found = _child(node, part)
        node = found[1] if found else None
    return node


def _locate(parts: tuple[Any, ...], tree: yaml.Node | None) -> tuple[list[Any], int, int]:
    """The keys of ``parts`` that a reader sees, the line of the deepest one that the file has, and how deep that is.

    pydantic puts the tag of a union (``kind: table``) among the keys; what the file does not have on the way is
    dropped.
    """
    node, line, kept, depth = tree, 1, [], 0
    for place, part in enumerate(parts):
        found = _child(node, part)
        if found is not None:
            line, node, depth = found[0].start_mark.line + 1, found[1], depth + 1
            kept.append(part)
        elif place == len(parts) - 1:
            kept.append(part)
    return kept, line, depth
