"""Predictors: learned beliefs about candidates that nobody has made yet."""
