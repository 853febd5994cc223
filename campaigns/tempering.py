"""The instrument of tempering.yaml: a toy tempering furnace, with the trends of steels, not their numbers."""

import math


def temper(temperature_C, time_h, carbon_pct):
    """Return toughness, and how long the furnace was busy: heating up, holding, cooling down."""
    larson_miller = (temperature_C + 273.15) * (20 + math.log10(time_h)) / 1000
    softened = 1 / (1 + math.exp((14.2 + 2.0 * carbon_pct - larson_miller) / 0.6))
    brittle = 0.5 * math.exp(-(((temperature_C - 330) / 40) ** 2))  # tempered martensite embrittlement
    overdone = 0.35 * max(0.0, larson_miller - 17.5)
    return {
        "toughness_J": 180 * softened * (1 - brittle - overdone) * (1.15 - 0.5 * carbon_pct),
        "duration_s": 3600 * (time_h + temperature_C / 200),
    }
