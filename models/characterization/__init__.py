"""What an instrument's reading says about the sample: phases of a powder from its diffraction pattern."""

from models.characterization.crystal import Crystal
from models.characterization.pattern import Pattern, read_pattern, read_patterns
from models.characterization.phases import Analysis, PhaseFraction, analyse, quantify
from models.characterization.references import references_of

__all__ = [
    "Analysis",
    "Crystal",
    "Pattern",
    "PhaseFraction",
    "analyse",
    "quantify",
    "read_pattern",
    "read_patterns",
    "references_of",
]
