"""What surfaces look like: the sRGB curve (color), procedural textures (procedural) and image folders (images)."""
