"""What a model knows of blocks: kinds with their symmetries and resting poses, and the sides they lie on."""
