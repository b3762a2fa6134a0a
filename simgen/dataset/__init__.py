"""Reads and writes datasets in BOP's format.

Format: https://github.com/thodan/bop_toolkit/blob/master/docs/bop_datasets_format.md
"""
