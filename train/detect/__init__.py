"""A trained model as a function: pictures and cameras in, detections out."""
