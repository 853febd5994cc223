"""The instrument of age-hardening.yaml: a toy with the trends of aluminium alloys, not their numbers."""

import math
import re


def age(alloy, temperature_C, time_h):
    """Return the hardness after ageing, and how long the furnace was busy: heating up, holding, cooling down."""
    percent = {symbol: float(amount) for symbol, amount in re.findall(r"([A-Z][a-z]?)([0-9.]+)", alloy)}
    copper, zinc = percent.get("Cu", 0.0), percent.get("Zn", 0.0)
    silicide = min(percent.get("Mg", 0.0), 1.7 * percent.get("Si", 0.0))
    zinc_phase = min(zinc, 2.5 * percent.get("Mg", 0.0))
    # Each precipitate has a temperature at which it peaks after a day; hotter is sooner, and lower.
    gain = 0.0
    for amount, best_C, each_HV in ((copper, 165, 16), (silicide, 175, 45), (zinc_phase, 125, 18)):
        hours_to_peak = 24 * math.exp(9000 * (1 / (temperature_C + 273.15) - 1 / (best_C + 273.15)))
        shape = math.exp(-0.5 * (math.log(time_h / hours_to_peak) / 1.6) ** 2)
        gain += each_HV * amount**0.7 * shape * math.exp(-(((temperature_C - best_C) / 90) ** 2))
    return {"hardness_HV": 30 + gain, "duration_s": 3600 * (time_h + temperature_C / 200)}
