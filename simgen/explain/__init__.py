"""`python -m simgen explain FACTOR`: what a factor of conf/randomize/ is, what the presets give it, and pictures along it."""
