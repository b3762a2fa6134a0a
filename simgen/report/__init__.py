"""`python -m simgen report`: one HTML page, without a server or a network, that shows what a dataset holds."""
