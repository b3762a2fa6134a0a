"""Block shapes: solids with their symmetries, resting poses and keypoints (solids, symmetry, hulls), and the reading of mesh
files (meshfile, meshrepair, polygons)."""
