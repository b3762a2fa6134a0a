"""`python -m simgen explain FACTOR`: what a factor is, what the presets give it, and pictures along it."""
