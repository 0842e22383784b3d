"""Many runs from one W&B sweep file, on Optuna."""
