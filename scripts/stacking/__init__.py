"""A robot that stacks blocks where a detector sees them: the parts of scripts/stack_blocks.py."""
