"""Blocks drawn over pictures, contact sheets and curves."""
