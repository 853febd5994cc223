"""CPU seconds to enumerate and rank all reactions to an oxide, beside reaction-network where it is installed.

``ATHANOR_DATA=... python -m benchmarks.synthesis_routes [--targets F ...] [--phases 22] [--peer PYTHON]``.

First table: from nothing but the data to ranked routes, one process that has read the files already; every target is
new to it. Precursors are all available powders.

With ``--peer``, the interpreter of an environment that has reaction-network: both get the same phases of a target's
system (the most stable ones, gases included) with the same Gibbs energies at 1100 K, and enumerate the reactions that
give the target, open to O2 and CO2. Ours then also scores competition and ranks; reaction-network's basic and open
enumerators with up to two phases a side (``n=2``), without competition.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time

from models.synthesis.landscape import survey
from models.synthesis.precursor_list import Precursor
from models.synthesis.reaction_planner import ReactionPlanner
from models.thermo import entries, formulas
from models.thermo.gibbs import gas_eV, solids

TARGETS = (
    "YBa2Cu3O7",
    "Li7La3Zr2O12",
    "CaCu3Ti4O12",
    "LiMn1.5Ni0.5O4",
    "Na3Zr2Si2PO12",
    "LiFePO4",
    "BaTiO3",
    "La2CuO4",
)
_T_K = 1100.0
_PEER = """
import json, os, sys, time
os.environ["RAY_raylet_start_wait_time_s"] = os.environ["RAY_gcs_server_request_timeout_seconds"] = "300"
import warnings; warnings.filterwarnings("ignore")
from pymatgen.core import Composition
from rxn_network.entries.entry_set import GibbsEntrySet
from rxn_network.entries.gibbs import GibbsComputedEntry
from rxn_network.enumerators.basic import BasicEnumerator, BasicOpenEnumerator
from rxn_network.enumerators.utils import *
import rxn_network.enumerators.base as base

asked = json.loads(sys.stdin.read())
class Fixed(GibbsComputedEntry):
    def __init__(self, composition, formation_energy_per_atom, volume_per_atom, temperature, **more):
        super().__init__(composition, formation_energy_per_atom, volume_per_atom, temperature, **more)
    def gibbs_adjustment(self, temperature):
        return 0.0
made = [Fixed(Composition(f), g, 12.0, asked["T_K"], entry_id=f) for f, g in asked["phases"]]
found = GibbsEntrySet(made)
import ray
ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)
began = time.process_time(), time.perf_counter()
before = sum(os.times()[:4])
n = 0
for enumerator in (BasicEnumerator(targets=[asked["target"]], n=2, quiet=True),
                   BasicOpenEnumerator(["O2", "CO2"], targets=[asked["target"]], n=2, quiet=True)):
    n += len(list(enumerator.enumerate(found)))
wall = time.perf_counter() - began[1]
import psutil
children = psutil.Process().children(recursive=True)
worked = sum(sum(c.cpu_times()[:2]) for c in children if "ray::" in " ".join(c.cmdline()) )
print(json.dumps({"reactions": n, "wall_s": wall, "cpu_s": time.process_time() - began[0] + worked}))
"""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), metavar="FORMULA")
    parser.add_argument("--phases", type=int, default=22, help="of a system, for the comparison (default: %(default)s)")
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter that has reaction-network")
    arguments = parser.parse_args(argv)
    planner = ReactionPlanner(literature=False)
    planner.routes("MgO")  # the files are read once a process
    print(f"{'target':<16}{'powders':>8}{'reactions':>11}{'competitors':>13}{'CPU s':>8}")
    for target in arguments.targets:
        began = time.process_time()
        found = planner.survey(target).landscape
        assert found is not None
        took = time.process_time() - began
        print(
            f"{target:<16}{len(found.precursors):>8}{len(found.reactions):>11}{len(found.competitors):>13}{took:>8.2f}"
        )
    if arguments.peer:
        for target in ("BaTiO3", "LiFePO4"):
            compare(target, arguments.phases, arguments.peer)


def compare(target: str, count: int, peer: str) -> None:
    """Print both on the same phases."""
    atoms = formulas.atoms(target)
    name = formulas.reduced(target)
    known = solids(entries.phases({*atoms, "C"}))
    order = [i for i, phase in enumerate(known.phases) if len(phase.atoms) > 1 and set(phase.atoms) != {"C", "O"}]
    order.sort(key=lambda i: (known.phases[i].formula != name, known.phases[i].decomposition_eV_per_atom or 0.0))
    # Simple powders first, so that there is something to start from.
    order.sort(key=lambda i: len(known.phases[i].atoms) > 2 and known.phases[i].formula != name)
    chosen = order[:count]
    if not any(known.phases[i].formula == name for i in chosen):
        chosen[-1] = next(i for i in order if known.phases[i].formula == name)
    energies = known.at(_T_K)
    phases = [(known.phases[i].formula, float(energies[i])) for i in chosen]
    precursors = [Precursor(known.phases[i], "oxide", 1) for i in chosen if known.phases[i].formula != name]
    survey(target, _T_K - 273.15, precursors=precursors[:3])  # the crystals are read once a process
    began = time.process_time()
    ours = survey(target, _T_K - 273.15, precursors=precursors)
    took = time.process_time() - began
    gases = [("O2", 0.0), ("CO2", float(gas_eV("CO2", _T_K, 1.0)) / 3)]
    asked = {"target": name, "T_K": _T_K, "phases": [*phases, *gases]}
    done = subprocess.run([peer, "-c", _PEER], input=json.dumps(asked), capture_output=True, text=True, check=False)
    print(f"\n{target} among {count} phases: ours {len(ours.reactions)} reactions with competition in {took:.2f} CPU s")
    if done.returncode:
        print("reaction-network failed:", done.stderr[-800:])
        return
    theirs = json.loads(done.stdout.splitlines()[-1])
    print(
        f"reaction-network: {theirs['reactions']} reactions, {theirs['cpu_s']:.1f} CPU s ({theirs['wall_s']:.1f} s): "
        f"{theirs['cpu_s'] / took:.0f} x"
    )


if __name__ == "__main__":
    main()
