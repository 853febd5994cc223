"""Pareto fronts and the volume they dominate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.acquisition.backend import load_botorch


def pareto_front(values: np.ndarray, signs: Sequence[float] | None = None) -> np.ndarray:
    """Indices of the non-dominated rows, in rising order.

    Args:
        values: (n, m), one row an outcome; rows with a non-finite entry are left out.
        signs: +1 (maximize) or -1 (minimize) a column; all +1 where left out.

    Returns:
        (k,) integers. Of equal rows only the first is on the front.
    """
    Y = _oriented(values, signs)
    rows = np.flatnonzero(np.isfinite(Y).all(axis=1))
    # Descending lexicographic order: no row can be dominated by a later one, so one pass over a growing front suffices.
    order = rows[np.lexsort((rows, *(-Y[rows, j] for j in reversed(range(Y.shape[1])))))]
    if Y.shape[1] <= 2:
        second = Y[order, -1]
        best_before = np.concatenate(([-np.inf], np.maximum.accumulate(second)[:-1])) if len(order) else second
        return np.sort(order[second > best_before])
    front: list[int] = []
    for i in order:
        if not front or not (Y[front] >= Y[i]).all(axis=1).any():
            front.append(int(i))
    return np.sort(np.asarray(front, dtype=int))


def hypervolume(values: np.ndarray, reference: Sequence[float], signs: Sequence[float] | None = None) -> float:
    """Volume dominated by ``values`` and bounded by ``reference``, exactly.

    Zitzler & Thiele, IEEE Trans. Evol. Comput. 3, 257 (1999), doi:10.1109/4235.797969.

    Args:
        values: (n, m) outcomes; rows that do not beat the reference in every column add nothing.
        reference: (m,) worst outcome still of interest, in the units of ``values``.
        signs: +1 (maximize) or -1 (minimize) a column; all +1 where left out.
    """
    Y = _oriented(values, signs)
    bound = _oriented(np.asarray([reference], dtype=float), signs)[0]
    Y = Y[np.isfinite(Y).all(axis=1)]
    Y = Y[(bound < Y).all(axis=1)]
    Y = Y[pareto_front(Y)] if len(Y) else Y
    if not len(Y):
        return 0.0
    if Y.shape[1] == 1:
        return float(Y[0, 0] - bound[0])
    if Y.shape[1] == 2:
        Y = Y[np.argsort(-Y[:, 0])]
        floor = np.concatenate(([bound[1]], Y[:-1, 1]))
        return float(((Y[:, 0] - bound[0]) * (Y[:, 1] - floor)).sum())
    import torch

    load_botorch()
    from botorch.utils.multi_objective.hypervolume import Hypervolume

    return float(Hypervolume(torch.from_numpy(bound)).compute(torch.from_numpy(Y)))


def improvement_cells(front: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut the region that ``front`` does not dominate, above ``reference``, into disjoint boxes.

    Args:
        front: (n, m) outcomes to be maximized, dominated ones allowed, n may be 0.
        reference: (m,).

    Returns:
        Lower and upper corners, (k, m) each; an upper corner may be infinite.
    """
    m = len(reference)
    front = front[(front > reference).all(axis=1)] if len(front) else np.empty((0, m))
    front = front[pareto_front(front)] if len(front) else front
    if not len(front):
        return reference[None].copy(), np.full((1, m), np.inf)
    if m == 1:
        return front[:1].copy(), np.full((1, 1), np.inf)
    if m == 2:
        front = front[np.argsort(front[:, 0])]  # the second column falls
        edges = np.concatenate(([reference[0]], front[:, 0], [np.inf]))
        floors = np.concatenate((front[:, 1], [reference[1]]))
        upper = np.column_stack((edges[1:], np.full(len(floors), np.inf)))
        return np.column_stack((edges[:-1], floors)), upper
    import torch

    load_botorch()
    from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning

    boxes = FastNondominatedPartitioning(torch.from_numpy(reference), torch.from_numpy(front))
    lower, upper = boxes.get_hypercell_bounds().numpy()
    return lower, np.where(upper >= 1e9, np.inf, upper)


def _oriented(values: np.ndarray, signs: Sequence[float] | None) -> np.ndarray:
    Y = np.asarray(values, dtype=float)
    Y = Y[:, None] if Y.ndim == 1 else Y
    return Y if signs is None else Y * np.asarray(signs, dtype=float)
