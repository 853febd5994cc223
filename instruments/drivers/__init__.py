"""Drivers that need no hardware: a measured table and a Python function."""
