"""Blocks: solids with their symmetries, resting poses and keypoints (solids, symmetry, hulls), and the mesh files that they
come from (meshfile, meshrepair, polygons)."""
