"""The instruments of hardness-or-tensile.yaml: one toy alloy, looked at in two ways."""

import math


def _strength_MPa(x_Fe, x_Co, x_Ni, x_Cr, anneal_C):
    order = math.exp(-(((x_Ni - 0.35) / 0.15) ** 2) - ((x_Cr - 0.15) / 0.1) ** 2)
    return 300 + 500 * order + 250 * x_Co * x_Fe - 0.002 * (anneal_C - 750) ** 2


def indent(x_Fe, x_Co, x_Ni, x_Cr, anneal_C):
    """A hardness tester: a minute, and chromium carbides make it read high."""
    strength = _strength_MPa(x_Fe, x_Co, x_Ni, x_Cr, anneal_C)
    return {"hardness_HV": strength / 3.2 + 90 * x_Cr, "duration_s": 900}


def pull(x_Fe, x_Co, x_Ni, x_Cr, anneal_C):
    """A tensile test: half a day with its specimens."""
    return {"strength_MPa": _strength_MPa(x_Fe, x_Co, x_Ni, x_Cr, anneal_C), "duration_s": 18000}
