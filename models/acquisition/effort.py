"""What an experiment costs: money, and hours of instruments, as declared or as learnt from those that were done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from models.acquisition.problem import Problem
from models.acquisition.surrogate import fit_gaussian_process
from models.errors import DataError, UnknownNameError
from models.observation import Observation
from models.outlook import Outlook
from models.roles import Pool

_FEWEST = 4  # durations from which one is predicted for each candidate, not the same for all
_LEAST_PRICE = 1e-9


class Sum(BaseModel):
    """``base`` plus, for every named parameter or computed quantity, its value times a number.

    A category has a number of its own: ``per: {time_min: 0.02, gas: {air: 0, argon: 1.5}}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: float = 0.0
    per: dict[str, float | dict[str, float]] = Field(default_factory=dict)

    def of(self, pool: Pool) -> np.ndarray:
        """The sum for every candidate of a pool, (n,), never negative.

        Raises:
            UnknownNameError, DataError: a name that the pool does not know, a category without a number.
        """
        total = np.full(len(pool), self.base)
        for name, slope in self.per.items():
            if isinstance(slope, dict):
                total += [_number_of(pool[i].parameters.get(name), name, slope) for i in range(len(pool))]
            else:
                total += slope * pool.computed(name)
        return np.maximum(np.nan_to_num(total), 0.0)


Amount = Annotated[float, Field(ge=0)] | Sum
Hours = Amount | Literal["learned"]


class Effort(BaseModel):
    """How the choice weighs what experiments cost: the value of a candidate is divided by its price.

    The price is money plus ``per_hour`` times hours: those for which the candidate keeps instruments, and those for
    which it would make the lab wait, since its first instrument is busy and that of another candidate is not. The
    exponent of the price falls with the budget that is left, so that in the end what is best counts, not what is cheap
    (Lee et al., "Cost-aware Bayesian optimization", arXiv:2003.10870). What cannot end within the hours that are left
    is not chosen.

    Attributes:
        money: of an experiment.
        hours: capability -> hours, in the order of the recipe; ``learned``: from the experiments that were done.
        per_hour: the price of an hour, in the unit of ``money``.
        exponent: of the price in the beginning; 1: value per price; 0: prices do not matter.
        cooled: the exponent falls with the budget.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    money: Amount = 0.0
    hours: dict[str, Hours] = Field(default_factory=dict)
    per_hour: float = Field(default=1.0, ge=0)
    exponent: float = Field(default=1.0, ge=0)
    cooled: bool = True

    def check(self, pool: Pool) -> None:
        """Raise DataError where ``per`` names what the candidates of a pool do not have."""
        for place, amount in (("money", self.money), *((f"hours.{k}", v) for k, v in self.hours.items())):
            if isinstance(amount, Sum):
                try:
                    amount.of(pool)
                except (UnknownNameError, DataError) as error:
                    raise DataError(f"effort.{place}.per: {error}") from error

    def prices(self, pool: Pool, problem: Problem, observations: Sequence[Observation], outlook: Outlook) -> Prices:
        """Price every candidate of a pool."""
        n = len(pool)
        money = _amount(self.money, pool)
        hours = {
            capability: _learned(capability, problem, observations, n) if wanted == "learned" else _amount(wanted, pool)
            for capability, wanted in self.hours.items()
        }
        total = np.sum(list(hours.values()), axis=0) if hours else np.zeros(n)
        wait = np.zeros(n)
        for capability in reversed(list(hours)):  # the first that the candidate needs counts
            wait = np.where(hours[capability] > 0, outlook.wait_h(capability), wait)
        waste = wait - wait.min(initial=math.inf) if n else wait
        in_time = np.array([outlook.fits(h) for h in (wait + total).tolist()], dtype=bool)
        price = np.maximum(money + self.per_hour * (total + waste), _LEAST_PRICE)
        exponent = self.exponent * (outlook.budget_left if self.cooled else 1.0)
        return Prices(price, total, waste, in_time, -exponent * np.log(price))


class Prices:
    """Of every candidate of a pool, (n,) each.

    Attributes:
        price, hours, waste_h: what it costs, how long it takes, how long the lab would wait for it.
        in_time: it can end within the budget.
        worth: what is added to the logarithm of its value.
    """

    def __init__(
        self, price: np.ndarray, hours: np.ndarray, waste_h: np.ndarray, in_time: np.ndarray, worth: np.ndarray
    ) -> None:
        self.price, self.hours, self.waste_h, self.in_time, self.worth = price, hours, waste_h, in_time, worth

    def of(self, row: int) -> dict[str, float]:
        """In words for ``Choice.effort``."""
        said = {"price": self.price[row], "hours": self.hours[row], "waste_h": self.waste_h[row]}
        return {name: float(f"{value:.6g}") for name, value in said.items()}


def _amount(wanted: float | Sum, pool: Pool) -> np.ndarray:
    return wanted.of(pool) if isinstance(wanted, Sum) else np.full(len(pool), float(wanted))


def _number_of(value: object, name: str, numbers: dict[str, float]) -> float:
    if str(value) not in numbers:
        raise DataError(f"effort: {name} = {value!r} has no number; give one beside {sorted(numbers)}")
    return numbers[str(value)]


def _learned(capability: str, problem: Problem, observations: Sequence[Observation], n: int) -> np.ndarray:
    """Hours of every candidate from those of earlier ones, log-normal: Snoek et al., NeurIPS 2012, arXiv:1206.2944."""
    seen = [(k, o.hours[capability]) for k, o in enumerate(observations) if o.hours.get(capability, 0.0) > 0]
    if not seen:
        return np.ones(n)  # nobody knows: the same for all
    rows, logs = np.array([k for k, _ in seen]), np.log([h for _, h in seen])
    spread = float(logs.std())
    if len(logs) < _FEWEST or spread < 0.02:
        return np.full(n, math.exp(float(np.median(logs))))
    y = torch.from_numpy((logs - logs.mean()) / spread)
    process = fit_gaussian_process(torch.from_numpy(problem.observed_X[rows]), y)
    mean = np.concatenate(
        [
            process.predict(torch.from_numpy(np.asarray(problem.pool_X[start : start + 8192], dtype=float)))[0].numpy()
            for start in range(0, n, 8192)
        ]
    )
    return np.exp(logs.mean() + spread * mean)
