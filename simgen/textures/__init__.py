"""Textures of surfaces: the sRGB curve (color), procedural textures (procedural) and image folders (images)."""
