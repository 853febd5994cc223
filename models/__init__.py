"""The science: candidates, predictors, generators, acquisition, synthesis. Plain torch and numpy; knows no lab."""
