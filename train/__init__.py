"""Trains a pose CNN on rendered images alone and measures it; never imports a renderer or PyBullet."""
