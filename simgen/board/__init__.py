"""Printed boards: what is on their pages, their PDF, and how they are found in photographs.

value.py has `Board`, layout.py arranges its pages, pdf.py draws them, find.py finds them in a picture. calibrate.py
calibrates a camera from photographs of a board, and place.py the camera's pose over the table.
"""
