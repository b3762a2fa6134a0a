"""The baseline of Tobin et al. 2017: an image in, the position of one block out. Only `train.__main__` imports it."""
