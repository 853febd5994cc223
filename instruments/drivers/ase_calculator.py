"""An atomistic calculator as an instrument, through ASE: CHGNet, Quantum ESPRESSO, or any other."""

from __future__ import annotations

import math
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.drivers.base import RealInstrument, Stopped, load_callable, need
from instruments.errors import LabError, Refused

KILL_AFTER_S = 2.0
STRAINS = (-0.02, -0.01, 0.0, 0.01, 0.02)
"""Of the cell's edges."""
EV_PER_A3_IN_GPA = 160.21766208


class AseCalculator(RealInstrument):
    """Capability ``calculate``: energy, forces and volume of a structure, as it is or relaxed.

    The structure is the parameter ``target``: ``species`` (one symbol an atom), ``lattice_A`` (3 x 3) and
    ``frac_coords`` (n x 3), as routes carry it.

    Readings: ``energy_eV_per_atom``, ``volume_A3_per_atom``, ``max_force_eV_per_A``, ``steps``, with ``bulk_modulus``
    ``bulk_modulus_GPa``, and where the calculator gives it ``magnetization_muB_per_atom``; arrays ``lattice_A``,
    ``frac_coords``, ``forces_eV_per_A`` of the last step.

    Settings:
        calculator: ``chgnet`` (Deng et al., Nature Machine Intelligence 5, 1031 (2023), 10.1038/s42256-023-00716-3),
            ``espresso`` (Giannozzi et al., J. Phys.: Condens. Matter 29, 465901 (2017), 10.1088/1361-648X/aa8f79), or
            ``package.module:name`` of anything that returns an ASE calculator.
        options: its keyword arguments. For ``espresso``: ``pseudo_dir``, ``pseudopotentials``, ``input_data``, ``kpts``
            and ``command`` (``pw.x``).
        relax: ``none``, ``positions`` or ``cell``; fmax_eV_per_A and max_steps end a relaxation.
        bulk_modulus: True squeezes and stretches the cell by ``STRAINS`` at fixed fractional coordinates and fits a
            parabola to the energies: exact where symmetry fixes the atoms, an upper bound elsewhere.
        max_atoms: limit. threads: of torch, for ``chgnet``.

    ASE: Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017), 10.1088/1361-648X/aa680e.

    Raises:
        LabError: a setting is wrong, or the calculator or its program is not installed.
    """

    name = "calculator"

    def __init__(
        self,
        *,
        workdir: Path,
        calculator: str = "chgnet",
        options: Mapping[str, Any] | None = None,
        relax: Literal["none", "positions", "cell"] = "none",
        fmax_eV_per_A: float = 0.05,
        max_steps: int = 200,
        bulk_modulus: bool = False,
        max_atoms: int = 500,
        threads: int = 1,
    ) -> None:
        super().__init__(workdir=workdir)
        if relax not in ("none", "positions", "cell"):
            raise LabError(f"relax must be none, positions or cell, not {relax!r}")
        self.kind, self.options, self.relax = calculator, dict(options or {}), relax
        self.fmax, self.max_steps, self.max_atoms, self.threads = fmax_eV_per_A, max_steps, max_atoms, threads
        self.bulk_modulus = bulk_modulus
        need("ase", "ase")
        if calculator == "espresso":
            program = str(self.options.get("command", "pw.x")).split()[0]
            if shutil.which(program) is None:
                raise LabError(f"{program} is not installed (Debian: apt install quantum-espresso)")
            if missing := {"pseudo_dir", "pseudopotentials"} - set(self.options):
                raise LabError(f"espresso: options lack {', '.join(sorted(missing))}")
        elif calculator != "chgnet" and ":" not in calculator:
            raise LabError(f"calculator {calculator!r}: write chgnet, espresso or package.module:name")
        self._calculator: Any = None

    def capabilities(self) -> list[Capability]:
        """``calculate``, idempotent: it touches nothing."""
        quantities = {
            "energy_eV_per_atom": Limit(-1e6, 100.0),
            "volume_A3_per_atom": Limit(0.1, 1e4),
            "max_force_eV_per_A": Limit(0.0, 1e4),
            "steps": Limit(0, self.max_steps),
            "magnetization_muB_per_atom": Limit(-20.0, 20.0),
        }
        if self.bulk_modulus:
            quantities["bulk_modulus_GPa"] = Limit(-1e3, 1e4)
        return [Capability("calculate", quantities=quantities, idempotent=True)]

    def act(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        """Calculate; a calculation that does not converge is ``failed``."""
        atoms, begun = self._atoms(given), time.monotonic()
        atoms.calc = self.calculator()
        try:
            steps = self._relax(atoms, progress)
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            moments = atoms.calc.results.get("magmoms", atoms.calc.results.get("magmom"))
            stiffness_GPa = self._bulk_modulus_GPa(atoms, progress) if self.bulk_modulus else None
        except Stopped:
            raise
        except Exception as error:  # every calculator has errors of its own; none of them breaks anything
            return self._failed(f"{type(error).__name__}: {error}"[:2_000], time.monotonic() - begun)
        largest = math.sqrt(max((forces**2).sum(axis=1)))
        readings = {
            "energy_eV_per_atom": float(energy) / len(atoms),
            "volume_A3_per_atom": float(atoms.get_volume()) / len(atoms),
            "max_force_eV_per_A": largest,
            "steps": float(steps),
        }
        if stiffness_GPa is not None:
            readings["bulk_modulus_GPa"] = stiffness_GPa
        if moments is not None:
            readings["magnetization_muB_per_atom"] = float(_total(moments)) / len(atoms)
        arrays = {
            "lattice_A": atoms.cell.array.tolist(),
            "frac_coords": atoms.get_scaled_positions().tolist(),
            "forces_eV_per_A": forces.tolist(),
        }
        if self.relax == "positions" and largest > self.fmax:
            return self._failed(f"not relaxed after {steps} steps: {largest:.3g} eV/A left", time.monotonic() - begun)
        return Outcome("ok", readings, arrays, duration_s=time.monotonic() - begun)

    def calculator(self) -> Any:
        """The ASE calculator; made at first use."""
        if self._calculator is None:
            if self.kind == "chgnet":
                self._calculator = self._chgnet()
            elif self.kind == "espresso":
                self._calculator = self._espresso()
            else:
                self._calculator = load_callable(self.kind)(**self.options)
        return self._calculator

    def _relax(self, atoms: Any, progress: Progress) -> int:
        if self.relax == "none":
            return 0
        moving = need("ase.filters", "ase").FrechetCellFilter(atoms) if self.relax == "cell" else atoms
        optimizer = need("ase.optimize", "ase").FIRE(moving, logfile=None)

        def each() -> None:
            self.check_stop()
            progress(min(0.99, optimizer.nsteps / self.max_steps), f"step {optimizer.nsteps}")

        optimizer.attach(each)
        if not optimizer.run(fmax=self.fmax, steps=self.max_steps):
            raise RuntimeError(f"not relaxed after {self.max_steps} steps; raise max_steps or fmax_eV_per_A")
        return int(optimizer.nsteps)

    def _bulk_modulus_GPa(self, atoms: Any, progress: Progress) -> float:
        """V d2E/dV2 at the middle of the parabola through the energies of the strained cells."""
        volumes, energies = [], []
        for number, strain in enumerate(STRAINS):
            self.check_stop()
            progress(0.9 + 0.1 * number / len(STRAINS), f"strain {strain:+.1%}")
            strained = atoms.copy()
            strained.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
            strained.calc = atoms.calc
            volumes.append(strained.get_volume())
            energies.append(strained.get_potential_energy())
        curvature, slope, _ = need("numpy", "ase").polyfit(volumes, energies, 2)
        if curvature <= 0 or not min(volumes) <= -slope / (2 * curvature) <= max(volumes):
            raise RuntimeError(
                f"no minimum of the energy within {STRAINS[0]:+.0%} .. {STRAINS[-1]:+.0%}: relax the cell first"
            )
        return float(-slope * EV_PER_A3_IN_GPA)  # B = V0 * 2 curvature, and V0 = -slope / (2 curvature)

    def _atoms(self, given: Mapping[str, Any]) -> Any:
        from ase import Atoms

        target = given.get("target")
        if not isinstance(target, Mapping):
            raise Refused("target is missing: {species, lattice_A, frac_coords}")
        try:
            species = [str(symbol) for symbol in target["species"]]
            if not 0 < len(species) <= self.max_atoms:
                raise Refused(f"{len(species)} atoms; at least 1 and at most {self.max_atoms}")
            lattice, fractions = (
                [[float(x) for x in row] for row in target[key]] for key in ("lattice_A", "frac_coords")
            )
            if not all(math.isfinite(x) for row in lattice + fractions for x in row):
                raise Refused("target holds a number that is not finite")
            atoms = Atoms(species, cell=lattice, pbc=True)
            if (volume_A3 := atoms.get_volume()) < 0.1:
                raise Refused(f"the cell has a volume of {volume_A3:g} A3")
            atoms.set_scaled_positions(fractions)
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(f"target is no structure ({type(error).__name__}: {error})") from None
        return atoms

    def _chgnet(self) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="invalid escape sequence")  # of the nvidia_smi that it imports
            calculator = need("chgnet.model.dynamics", "lab").CHGNetCalculator
            need("torch", "lab").set_num_threads(self.threads)
            return calculator(**({"use_device": "cpu"} | self.options))

    def _espresso(self) -> Any:
        from ase.calculators.espresso import Espresso, EspressoProfile

        options = dict(self.options)
        stop = self._stop

        class Profile(EspressoProfile):
            """Runs pw.x so that a stop ends it."""

            def run(self, directory, inputfile, outputfile, errorfile=None, append=False):  # type: ignore[no-untyped-def]
                command = self.get_command(inputfile)
                with open(Path(directory) / outputfile, "ab" if append else "wb") as out:
                    _run_until(command, Path(directory), out, stop)

        profile = Profile(command=options.pop("command", "pw.x"), pseudo_dir=options.pop("pseudo_dir"))
        data = {"tprnfor": True, "tstress": True} | dict(options.pop("input_data", {}))
        return Espresso(profile=profile, directory=str(self.workdir / "pw"), input_data=data, **options)


def _run_until(command: list[str], directory: Path, out: Any, stop: threading.Event) -> None:
    process = subprocess.Popen(command, cwd=directory, stdout=out, stderr=subprocess.STDOUT)
    try:
        while process.poll() is None:
            if stop.wait(0.05):
                raise Stopped
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}; see {directory}")


def _total(moments: Any) -> float:
    return float(moments.sum()) if hasattr(moments, "sum") else float(moments)
