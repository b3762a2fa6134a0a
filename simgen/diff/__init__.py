"""`python -m simgen diff A B`: what differs between two datasets or configurations: settings, factors, labels and pixels."""
