"""What the predictors share: tables of materials, features, graphs, convolutions, fitting, calibration, checkpoints."""
