"""A scan of a powder, as both simulated diffractometers take it: its settings, and what is counted."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from instruments.driver import Limit
from instruments.errors import Refused
from instruments.simulated.pattern import WAVELENGTH_A

if TYPE_CHECKING:
    import numpy as np

PEAK_COUNTS_PER_S, BACKGROUND_COUNTS_PER_S = 4000.0, 40.0
LIMITS = {
    "two_theta_min_deg": Limit(5.0, 120.0),
    "two_theta_max_deg": Limit(20.0, 150.0),
    "step_deg": Limit(0.005, 0.1),
    "count_time_s": Limit(0.01, 600.0),
}
"""Of a command's settings."""


@dataclass(frozen=True)
class Scan:
    """What is set before a scan.

    Attributes:
        grid: (n,) angles 2 theta, degrees.
        wavelength_A: of the radiation.
        seconds: at each angle.
    """

    grid: np.ndarray
    wavelength_A: float
    seconds: float

    @classmethod
    def of(cls, given: Mapping[str, Any], low_deg: float, high_deg: float) -> Scan:
        """Return what a command's parameters set, with the range where they do not say. Raises Refused."""
        import numpy as np

        radiation = str(given.get("wavelength", "CuKa"))
        if radiation not in WAVELENGTH_A:
            raise Refused(f"wavelength {radiation!r}: choose one of {', '.join(WAVELENGTH_A)}")
        low, high = float(given.get("two_theta_min_deg", low_deg)), float(given.get("two_theta_max_deg", high_deg))
        step, seconds = float(given.get("step_deg", 0.02)), float(given.get("count_time_s", 1.0))
        if not (high - low > 100 * step > 0 and seconds > 0):
            raise Refused(f"a scan from {low} to {high} degrees in steps of {step} has too few points")
        return cls(low + step * np.arange(round((high - low) / step) + 1), WAVELENGTH_A[radiation], seconds)

    def counts(self, ideal: Callable[[float, float], np.ndarray], rng: random.Random, noise: float) -> np.ndarray:
        """Return the counts, shape (n,), with misalignment, background and counting noise.

        Args:
            ideal: (n,) relative intensities of the sample as it really is, given the shift of the zero (degrees) and
                the displacement of the sample.
            rng: of the command.
            noise: 1 as in life, 0 none.
        """
        import numpy as np

        zero, displacement = (rng.gauss(0, 0.01) * noise for _ in range(2))
        intensity = ideal(zero, displacement)
        background = 0.5 + 0.5 * np.exp(-(self.grid - self.grid[0]) / 25.0)
        rate = PEAK_COUNTS_PER_S * intensity / max(intensity.max(), 1e-300) + BACKGROUND_COUNTS_PER_S * background
        expected = rate * self.seconds
        drawn = np.random.default_rng(rng.getrandbits(64)).poisson(expected)
        return expected + (drawn - expected) * noise if noise != 1 else drawn.astype(float)
