"""The instrument of alloy-glass.yaml: a toy melt spinner, with the trends of metallic glasses, not their numbers."""

import math


def spin(zr_pct, al_pct, wheel_m_per_s, overheat_K):
    """Return the hardness of the ribbon; None where no ribbon comes off the wheel, and nobody knows the edge before."""
    too_cold = overheat_K < 60 + 1.5 * al_pct  # the nozzle clogs
    shattered = wheel_m_per_s > 42 - 0.05 * overheat_K
    if too_cold or shattered:
        return None
    eutectic = math.exp(-(((zr_pct - 52) / 9) ** 2) - ((al_pct - 11) / 5) ** 2)
    quench = 1 / (1 + math.exp((24 - wheel_m_per_s) / 4))
    return 380 + 170 * eutectic * quench + 1.5 * al_pct
