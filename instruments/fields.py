"""The kinds of field that messages are made of: strict, bounded, and NaN only where a measurement may be NaN."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _read_number(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str) and value in _SPECIAL:
        return _SPECIAL[value]
    if info.mode == "json" and isinstance(value, float) and not math.isfinite(value):
        raise ValueError('a bare NaN or Infinity is not JSON: write it as the string "NaN", "Infinity" or "-Infinity"')
    return value


def _write_number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _finite_json(value: JsonValue) -> JsonValue:
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("must not contain NaN or infinity")
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return value


Number = Annotated[
    float,
    BeforeValidator(_read_number),
    PlainSerializer(_write_number, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(_SPECIAL)}]}),
]
"""A float that may be NaN or infinite: on the wire the strings ``"NaN"``, ``"Infinity"``, ``"-Infinity"``."""

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
"""Printable ASCII without spaces: ids, instrument and capability names."""

Text = Annotated[str, Field(max_length=10_000)]
Duration = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Facts = Annotated[dict[str, JsonValue], AfterValidator(_finite_json)]
"""JSON object of finite numbers, strings, lists (not tuples) and objects."""


class Strict(BaseModel):
    """Base of everything on the wire: exact types, no unknown field, immutable."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
