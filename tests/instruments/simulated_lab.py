"""Matter and jobs for the tests of the simulated instruments; no potential needed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from instruments.driver import Job
from instruments.simulated.cell import lattice_parameter_A, scaled, volume_A3
from instruments.simulated.oracle import Material
from instruments.simulated.references import element
from instruments.simulated.world import Phase, Sample, World


def quiet(fraction: float, message: str) -> None:
    pass


def heusler(x: str, y: str, z: str, a_A: float = 5.8, inverse: bool = False) -> dict[str, Any]:
    h = a_A / 2
    full = [[0.25] * 3, [0.75] * 3, [0.0] * 3, [0.5] * 3]
    xa = [[0.0] * 3, [0.25] * 3, [0.5] * 3, [0.75] * 3]
    return {
        "formula": f"{x}2{y}{z}",
        "lattice_A": [[0.0, h, h], [h, 0.0, h], [h, h, 0.0]],
        "species": [x, x, y, z],
        "frac_coords": xa if inverse else full,
    }


def balanced_g(target: dict[str, Any], total_g: float = 5.0) -> dict[str, float]:
    weights = {el: n * element(el).mass_g_per_mol for el, n in Counter(target["species"]).items()}
    return {el: total_g * w / sum(weights.values()) for el, w in weights.items()}


def material(target: dict[str, Any], formation_eV: float, factor: float = 1.0, bound: bool = True) -> Material:
    cell = scaled(target["lattice_A"], factor)
    n = len(target["species"])
    return Material(
        formula=target["formula"],
        bound=bound,
        lattice_A=cell,
        species=target["species"],
        frac_coords=target["frac_coords"],
        lattice_parameter_A=lattice_parameter_A(cell),
        volume_A3_per_atom=volume_A3(cell) / n,
        energy_eV_per_atom=-7.0,
        bulk_modulus_GPa=200.0,
        formation_energy_eV_per_atom=formation_eV,
        moments_muB=[1.0] * n,
    )


def melt(target: dict[str, Any], sample: str = "s1", seed: int = 1, **changes: Any) -> Job:
    parameters = {
        "masses_g": balanced_g(target),
        "melt_temperature_C": 1600.0,
        "current_A": 200.0,
        "melts": 4,
        "anneal_temperature_C": 800.0,
        "anneal_h": 1.0,
        "atmosphere": "Ar",
        "target": target,
    }
    return Job(f"make-{sample}", "arc_melt", sample, parameters | changes, seed)


def put_mixture(
    world: World,
    target: dict[str, Any],
    fraction: float,
    factor: float = 1.0,
    sample: str = "s1",
    moments: tuple[float, ...] = (0, 0, 0, 0),
    mass_g: float = 5.0,
) -> None:
    """A sample with this mass fraction of the target, its edge scaled; the rest its elements in their proportion."""
    wanted = Phase(
        target["formula"],
        True,
        fraction,
        scaled(target["lattice_A"], factor),
        target["species"],
        target["frac_coords"],
        list(moments),
    )
    rest = [
        Phase(
            el,
            False,
            (1 - fraction) * g,
            element(el).lattice_A,
            element(el).species,
            element(el).frac_coords,
            [element(el).moment_muB_per_atom * element(el).ferromagnetic] * len(element(el).species),
        )
        for el, g in balanced_g(target, 1.0).items()
    ]
    world.put(Sample(sample, mass_g, [wanted, *rest], {"status": "ok"}), "by-hand", "test")


@contextmanager
def stopping(driver: Any) -> Iterator[None]:
    """Stops the driver again and again, as a host does: a stop that comes before the job has begun is forgotten."""
    over = threading.Event()

    def stop() -> None:
        while not over.wait(0.1):
            driver.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    try:
        yield
    finally:
        over.set()
        stopper.join()
