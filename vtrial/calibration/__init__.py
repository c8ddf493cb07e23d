"""Bayesian calibration: kinetics and sedation in one PyMC model, fed by graded evidence."""
