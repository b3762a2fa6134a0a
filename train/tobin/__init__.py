"""The baseline of Tobin et al. 2017: one position from one picture. Only `train.__main__` imports it."""
