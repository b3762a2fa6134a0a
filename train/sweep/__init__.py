"""`python -m train sweep`: many trainings in a row, of which Optuna chooses the values by the losses of those before."""
