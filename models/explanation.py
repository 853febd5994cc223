"""Why an experiment was chosen and what it taught, as plain data."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from models.observation import Prediction


class Belief(BaseModel):
    """What was believed about one modelled quantity of one candidate, in the quantity's unit.

    Attributes:
        expected: of a measurement, its noise included.
        doubt_std: how uncertain the true value was.
        noise_std: of one measurement about the true value.
        pool_doubt_std: how uncertain the true values of the pool were, on average.
        lengthscales: feature -> length scale in the unit cube, shortest (most decisive) first; empty without one.
        importance: feature -> share of what the prediction changes by when that feature is shuffled over the pool.
        effects: feature -> how much this candidate's value of it raised the prediction over the pool's usual value.
    """

    model_config = ConfigDict(frozen=True)

    expected: Prediction
    doubt_std: float
    noise_std: float
    pool_doubt_std: float
    lengthscales: dict[str, float] = Field(default_factory=dict)
    importance: dict[str, float] = Field(default_factory=dict)
    effects: dict[str, float] = Field(default_factory=dict)


class Lesson(BaseModel):
    """How one result moved the belief about one quantity, in its unit.

    Attributes:
        before, after: the true value of the candidate, with the results before this one, and with it too.
        pool_shift: mean absolute change of the expected value over the pool.
        pool_doubt_before_std, pool_doubt_after_std: mean uncertainty of the pool's true values.
    """

    model_config = ConfigDict(frozen=True)

    before: Prediction | None
    after: Prediction
    pool_shift: float | None
    pool_doubt_before_std: float | None
    pool_doubt_after_std: float


class Explanation(BaseModel):
    """What the models say about one choice, computed anew.

    Attributes:
        data_hash, model_hash: of what the decision saw and of the models fitted to it; no model: ``""``.
        beliefs: quantity -> belief when the decision was made; empty where nothing had been measured.
        lessons: quantity -> what the result taught; empty where there is none.
        note: where a surrogate is not the usual one, and why.
    """

    model_config = ConfigDict(frozen=True)

    data_hash: str
    model_hash: str = ""
    beliefs: dict[str, Belief] = Field(default_factory=dict)
    lessons: dict[str, Lesson] = Field(default_factory=dict)
    note: str = ""
