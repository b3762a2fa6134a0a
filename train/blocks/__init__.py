"""The blocks of a model: kinds with their symmetries and resting poses, and classes by the side that is down."""
