"""Commented campaigns to start from, one a kind of space (`athanor init`)."""

from __future__ import annotations

import re
from pathlib import Path

from controller.errors import CampaignError

_HEAD = """\
# A campaign for Athanor. Check it: athanor validate {name}.yaml    Run it: athanor run {name}.yaml
athanor: 1
name: {name}
description: say in a few words what you look for
seed: 0                       # the same seed makes the same decisions
budget:
  experiments: 20             # stop after so many
  # hours: 100                # ... or after so much time in the lab
"""

_FUNCTION = """
# What may be set: float and int between low and high (log: true, step: 0.5), categorical with values.
space:
  kind: parameters
  parameters:
    temperature_C: {{type: float, low: 20, high: 200}}
    time_min: {{type: int, low: 1, high: 60}}
    solvent: {{type: categorical, values: [water, ethanol, toluene]}}
  constraints:                # linear ones: at_most, at_least or equal
    - {{coefficients: {{temperature_C: 1, time_min: 2}}, at_most: 280}}

# What to push up or down. Add a second line for a second objective: the result is then a Pareto front.
objectives:
  - {{name: yield_pct, direction: maximize}}
# constraints:
#   - {{name: purity_pct, at_least: 90}}

acquisition: {{name: pareto, initial: 6}}     # first 6 to cover the space, then by model
batch: 1                                      # how many to choose at a time

lab:
  clock: wall
  instruments:
    bench:
      driver: function
      settings: {{function: "{name}.py:measure", idempotent: true}}

compute: {{backend: local}}   # `ray` for one actor a stage, on this machine or on a cluster
"""

_FUNCTION_PY = '''\
"""The instrument of the campaign {name}: what happens at one setting of the dials. Replace the body by your own."""


def measure(temperature_C, time_min, solvent):
    best = {{"water": 80, "ethanol": 120, "toluene": 150}}[solvent]
    return {{"yield_pct": 90 - ((temperature_C - best) / 12) ** 2 - abs(time_min - 30) / 3}}
'''

_TABLE = """
# A table as the laboratory: each row is an experiment that was done; rows with equal parameters are replicates.
space:
  kind: table
  file: {name}.csv            # relative to this file; CSV, CSV.GZ or Parquet
  parameters: [temperature_C, time_min]
objectives:
  - {{name: yield_pct, direction: maximize}}

acquisition: {{name: top}}    # by beliefs about every row; see docs/campaign.md
batch: 1

lab:
  clock: simulated            # each measurement is said to take duration_s, nobody waits for it
  instruments:
    bench:
      driver: table
      settings: {{duration_s: 1800}}

compute: {{backend: local}}
"""

_TABLE_CSV_HEAD = "temperature_C,time_min,yield_pct\n"

_PROTOTYPE = """
# A crystal structure with element lists on its sites: here the cubic perovskite ABX3.
space:
  kind: prototype
  prototypes:
    - name: perovskite
      spacegroup: Pm-3m
      a_A: 4.0
      sites: {{A: [[0, 0, 0]], B: [[0.5, 0.5, 0.5]], X: [[0.5, 0.5, 0]]}}
  elements:
    A: [Ca, Sr, Ba, La, Na, K]
    B: [Ti, Zr, Hf, Sn, V, Nb, Ta, Mo, W, Fe, Co, Al, Ga]
    X: [O]

# Rules that cost nothing, in order: charges cancel, and the ions fit (Goldschmidt's tolerance factor).
screening:
  rules:
    - {{rule: charge}}
    - {{rule: tolerance_factor, bounds: [0.8, 1.1]}}

objectives:
  - {{name: lattice_parameter_A, direction: maximize}}
  - {{name: hhi, direction: minimize, source: computed}}   # supply risk, known from the formula
constraints:
  - {{name: phase_fraction, at_least: 0.5}}

acquisition: {{name: pareto, initial: 6}}
batch: 2
# Weighs powders, fires them, takes a pattern. For alloys: {{name: arc_melting}} with simulated.arc_furnace.
# Your own planner goes here as module:Class.
planner: {{name: sintering, sample_mass_g: 2, hours: 12}}

lab:
  clock: simulated            # instruments simulated with the interatomic potential CHGNet
  instruments:
    furnace: {{driver: simulated.box_furnace}}
    diffractometer: {{driver: simulated.diffractometer}}

compute: {{backend: local}}
"""


def write_template(name: str, kind: str, folder: Path) -> list[str]:
    """Write ``NAME.yaml`` and what it needs; return lines that say what to do next.

    Raises:
        CampaignError: the name is not usable, or a file of that name is there.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise CampaignError(f"{name!r}: a name has letters, digits, - and _ only, e.g. my-search.")
    body = {"function": _FUNCTION, "table": _TABLE, "prototype": _PROTOTYPE}[kind]
    files = {f"{name}.yaml": (_HEAD + body).format(name=name)}
    if kind == "function":
        files[f"{name}.py"] = _FUNCTION_PY.format(name=name)
    if kind == "table":
        rows = [
            f"{t},{m},{round(80 - ((t - 120) / 15) ** 2 - (m - 30) ** 2 / 40, 2)}"
            for t in range(60, 181, 20)
            for m in range(10, 51, 10)
        ]
        files[f"{name}.csv"] = _TABLE_CSV_HEAD + "\n".join(rows) + "\n"
    taken = [file for file in files if (folder / file).exists()]
    if taken:
        raise CampaignError(f"{', '.join(taken)}: there already. Choose another name, or move it away.")
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    return [f"wrote {file}" for file in files] + [f"next: athanor validate {name}.yaml && athanor run {name}.yaml"]
