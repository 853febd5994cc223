"""Thermochemistry of solids and gases: entries, Gibbs energies, hulls."""
