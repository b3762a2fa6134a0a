"""Detections compared with labels: matching, errors, calibration of the confidence."""
