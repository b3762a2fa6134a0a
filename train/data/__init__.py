"""Batches to learn from: streamed while training, or from datasets on disk."""
