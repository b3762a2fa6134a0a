"""`python -m simgen convert`: a BOP dataset in the folder layouts and files of other tools."""
