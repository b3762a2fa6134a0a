"""`python -m simgen convert`: a BOP dataset in the folder layouts and files of other tools.

Each format is a function of (dataset, configuration) in `simgen.formats.command.FORMATS`. It writes one split below
`config.out`; several splits are written one after the other into the same folder.
"""
