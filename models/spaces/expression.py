"""Arithmetic in campaign files: parsed, never executed as code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "log10": np.log10,
    "max": np.maximum,
    "min": np.minimum,
    "sqrt": np.sqrt,
}
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


class Expression:
    """Numbers, names, ``+ - * / **``, brackets and a few functions (``FUNCTIONS``).

    Args:
        text: as ``temperature_C * sqrt(time_h)``.

    Raises:
        ValueError: anything else; the message says what.
    """

    def __init__(self, text: str) -> None:
        try:
            self._tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{text!r} is no expression: {error}") from None
        self.text = text
        names: dict[str, None] = {}
        self._check(self._tree, names)
        self.names = tuple(names)

    def _check(self, node: ast.AST, names: dict[str, None]) -> None:
        if isinstance(node, ast.Name):
            names[node.id] = None
        elif isinstance(node, ast.BinOp | ast.UnaryOp) and type(node.op) in _OPERATORS:
            for child in (node.left, node.right) if isinstance(node, ast.BinOp) else (node.operand,):
                self._check(child, names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            wanted = 2 if node.func.id in ("max", "min") else 1
            if len(node.args) != wanted or node.keywords:
                raise ValueError(f"{self.text!r}: {node.func.id} takes {wanted} values")
            for child in node.args:
                self._check(child, names)
        elif not (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
            raise ValueError(
                f"{self.text!r}: {ast.unparse(node)!r} is not allowed; there are numbers, names, + - * / ** and "
                f"{', '.join(FUNCTIONS)}"
            )

    def __call__(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The value for arrays of every name, nan where it has none."""
        with np.errstate(all="ignore"):
            return np.asarray(self._value(self._tree, values), dtype=float)

    def _value(self, node: ast.AST, values: Mapping[str, np.ndarray]) -> np.ndarray:
        if isinstance(node, ast.Name):
            return np.asarray(values[node.id], dtype=float)
        if isinstance(node, ast.BinOp):
            return _OPERATORS[type(node.op)](self._value(node.left, values), self._value(node.right, values))
        if isinstance(node, ast.UnaryOp):
            return _OPERATORS[type(node.op)](self._value(node.operand, values))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return FUNCTIONS[node.func.id](*(self._value(child, values) for child in node.args))
        return np.float64(node.value) if isinstance(node, ast.Constant) else np.float64(np.nan)  # type: ignore[arg-type]
