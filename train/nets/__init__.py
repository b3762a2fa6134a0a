"""The networks of model=keypoints and their losses."""
