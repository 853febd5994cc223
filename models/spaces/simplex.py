"""Compositions as dials: fractions of elements that add up to one."""

from __future__ import annotations

import numpy as np

from models.spaces.spec import CompositionSpec, LinearConstraint, Parameter

PREFIX = "x_"
"""Of the parameter that holds an element's fraction: ``x_Fe``."""


def dials(spec: CompositionSpec) -> tuple[dict[str, Parameter], list[LinearConstraint]]:
    """The fractions as parameters, and the constraint that they add up."""
    found = {
        f"{PREFIX}{symbol}": Parameter(type="float", low=bounds.low, high=bounds.high)
        for symbol, bounds in spec.elements.items()
    }
    return found, [LinearConstraint(coefficients=dict.fromkeys(found, 1.0), equal=1.0)]


def snapped(fractions: np.ndarray, spec: CompositionSpec) -> np.ndarray:
    """Rows (n, elements) that add up to one, with at most ``most`` elements, on the grid of ``step``.

    The least abundant elements are dropped first; what is left over by rounding goes to those that lost most. Rows that
    cannot be inside the bounds then are outside: the caller drops them.
    """
    out = np.maximum(fractions, 0.0)
    if spec.most is not None and spec.most < out.shape[1]:
        order = np.argsort(-out, axis=1, kind="stable")
        np.put_along_axis(out, order[:, spec.most :], 0.0, axis=1)
    out = out / np.maximum(out.sum(axis=1, keepdims=True), 1e-12)
    if spec.step is None:
        return out
    parts = round(1.0 / spec.step)
    wanted = out * parts
    whole = np.floor(wanted + 1e-9)
    missing = np.round(parts - whole.sum(axis=1)).astype(int)
    rank = np.argsort(np.argsort(-np.where(out > 0, wanted - whole, -1.0), axis=1, kind="stable"), axis=1)
    return (whole + (rank < missing[:, None])) / parts
