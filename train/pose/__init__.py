"""From keypoints and edges in a picture to a 6D pose: cameras, PnP, poses on the table, edge-based refinement."""
