from __future__ import annotations

from pathlib import Path

import pytest

from models.acquisition.attempts import AttemptsAcquisition
from models.candidate import Candidate
from models.errors import DataError
from models.observation import Constraint, Objective, Observation
from models.pool import CandidatePool
from models.spaces import build_space
from models.spaces.spec import TableSpec

PURE = Constraint(name="purity", at_least=0.9)


@pytest.fixture
def pool(tmp_path: Path) -> CandidatePool:
    rows = [f"{target},{k}" for target in ("BaTiO3", "LaAlO3", "MgAl2O4") for k in (1, 2, 3)]
    (tmp_path / "t.csv").write_text("\n".join(["target,attempt", *rows]))
    space = build_space(
        TableSpec(kind="table", file="t.csv", composition="target", results=False), tmp_path, ("purity",)
    )
    found = CandidatePool(space)
    found.absorb([space[i] for i in reversed(range(9))])  # type: ignore[index]
    return found


def acquisition() -> AttemptsAcquisition:
    return AttemptsAcquisition([Objective(name="purity")], [PURE])


def result(candidate: Candidate, purity: float) -> Observation:
    outcome = "measured" if purity >= 0.9 else "failed_synthesis"
    values = {"purity": purity} if purity >= 0.9 else {}
    return Observation(experiment=candidate.id, candidate=candidate, values=values, outcome=outcome)


def named(choices) -> list[tuple[str, int]]:
    return [(c.candidate.parameters["target"], c.candidate.parameters["attempt"]) for c in choices]


def test_the_first_attempts_come_in_the_order_of_the_table_one_a_target(pool):
    assert named(acquisition().choose(pool, [], [], 5, seed=0)) == [("BaTiO3", 1), ("LaAlO3", 1), ("MgAl2O4", 1)]


def test_a_target_is_tried_again_until_it_is_made_and_not_while_it_is_under_way(pool):
    first = [c.candidate for c in acquisition().choose(pool, [], [], 3, seed=0)]
    known = [result(first[0], 0.5), result(first[1], 0.95)]
    assert named(acquisition().choose(pool, known, first[2:], 3, seed=1)) == [("BaTiO3", 2)]


def test_nothing_is_left_when_all_are_made(pool):
    first = [c.candidate for c in acquisition().choose(pool, [], [], 3, seed=0)]
    assert acquisition().choose(pool, [result(c, 0.99) for c in first], [], 3, seed=1) == []


def test_a_space_without_attempts_is_refused_with_the_fix(tmp_path):
    (tmp_path / "t.csv").write_text("target,x\nBaTiO3,1\nMgO,2\n")
    space = build_space(TableSpec(kind="table", file="t.csv", results=False), tmp_path, ("purity",))
    pool = CandidatePool(space)
    pool.absorb([space[0]])  # type: ignore[index]
    with pytest.raises(DataError, match="'attempt'"):
        acquisition().choose(pool, [], [], 1, seed=0)
