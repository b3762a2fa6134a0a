"""Datasets on disk: what is written beside an image, and how it is read back. The one format so far is BOP.

BOP format: https://github.com/thodan/bop_toolkit/blob/master/docs/bop_datasets_format.md
"""
