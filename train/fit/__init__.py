"""The training run of model=keypoints, and the checks before a long one."""
