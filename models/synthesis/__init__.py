"""Planners: from a candidate to chemistry that a lab can do."""
