"""The folder, checkpoints and trainer of a training run."""
