"""One verb a role. Whatever implements these protocols, ours or a plug-in, is interchangeable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict

from models.candidate import Candidate
from models.observation import Choice, Observation, Prediction
from models.route import Route


class Condition(BaseModel):
    """Everything that a proposal may depend on; equal conditions give equal proposals.

    Attributes:
        seed: the only source of randomness.
        offset: how many candidates this generator has already given in this campaign.
        incumbents: the best candidates so far, best first (local search, guidance).
    """

    model_config = ConfigDict(frozen=True)

    seed: int
    offset: int = 0
    incumbents: tuple[Candidate, ...] = ()


class Pool(Protocol):
    """Candidates with their features; candidates are made when asked for, so that millions cost nothing."""

    feature_names: tuple[str, ...]

    @property
    def features(self) -> np.ndarray:
        """float64 array of shape (n, d), finite."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Candidate: ...

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Features of any candidates of the same space (observed or pending ones), shape (len, d)."""
        ...

    def computed(self, name: str) -> np.ndarray:
        """Exactly known quantity ``name`` of every candidate, shape (n,). Raises UnknownNameError."""
        ...


@runtime_checkable
class Generator(Protocol):
    """Proposes candidates."""

    def propose(self, n: int, condition: Condition) -> list[Candidate]:
        """Return up to ``n`` new candidates; an empty list says that the space is exhausted."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """Believes something about quantities of candidates."""

    def fit(self, observations: Sequence[Observation]) -> None:
        """Learn from all observations (from scratch: equal data gives an equal model)."""
        ...

    def predict(self, candidates: Sequence[Candidate]) -> list[dict[str, Prediction]]:
        """One dict (quantity name -> Prediction) a candidate."""
        ...


@runtime_checkable
class Acquisition(Protocol):
    """Chooses the next experiments."""

    def choose(
        self, pool: Pool, observations: Sequence[Observation], pending: Sequence[Candidate], q: int, *, seed: int
    ) -> list[Choice]:
        """Return ``q`` different candidates of the pool, none observed or pending, most wanted first.

        Fewer only where the pool is exhausted. Never raises on odd data: it falls back and says so in
        ``Choice.note``. Equal arguments give equal choices.
        """
        ...


@runtime_checkable
class Planner(Protocol):
    """Turns a candidate into chemistry.

    A planner that learns has ``learn(trials)`` too, which is called before each plan with everything that was known
    when the candidate was chosen, in the order in which it was learnt. It forgets what it was told before: equal trials
    give equal routes, whoever was asked what in between.
    """

    def plan(self, candidate: Candidate) -> list[Route]:
        """Return routes, best first. Empty where the candidate cannot be made, by this planner's knowledge."""
        ...


@runtime_checkable
class Knowledge(Protocol):
    """Reads documents and answers from them."""

    def ingest(self, document: str) -> Any:
        """Read a document and remember what it says; returns that."""
        ...

    def query(self, question: str) -> Sequence[Any]:
        """What the documents say of a substance (a formula or a name), best first."""
        ...
