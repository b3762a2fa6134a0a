"""The command line: what the keys are, what a user typed, which settings have no effect, help texts and progress."""
