"""The instrument of catalyst-function.yaml: a toy model of methanol from carbon dioxide over copper.

Made up to have the trends of the reaction, not its numbers: CO2 + 3 H2 = CH3OH + H2O is exothermic and loses volume, so
that heat helps the rate and hurts the equilibrium, pressure helps both, and carbon monoxide takes over where it is hot.
"""

import math

PROMOTER = {"none": (0.6, 0.0), "Zn": (1.0, 4.0), "Zr": (0.9, 9.0), "Ga": (1.15, 6.0)}
"""Relative activity, and percentage points of selectivity gained."""


def react(temperature_C, pressure_bar, flow_mL_per_min, layers, promoter):
    """Return space-time yield, selectivity and the mass of catalyst at one setting of the dials."""
    activity, gain = PROMOTER[promoter]
    kelvin = temperature_C + 273.15
    catalyst_g = 0.4 * layers
    rate = activity * 40 * math.exp(-6000 * (1 / kelvin - 1 / 523)) * (pressure_bar / 50)
    equilibrium = 1 / (1 + math.exp((temperature_C - 255 - 0.6 * pressure_bar) / 18))
    conversion = equilibrium * (1 - math.exp(-rate * catalyst_g / flow_mL_per_min))
    selectivity_pct = min(99.0, 92 + gain - 45 / (1 + math.exp((265 - temperature_C) / 12)) - 0.3 * layers)
    return {
        "space_time_yield_g_per_L_h": 12 * conversion * flow_mL_per_min * selectivity_pct / 100,
        "selectivity_pct": selectivity_pct,
        "catalyst_g": catalyst_g,
    }
