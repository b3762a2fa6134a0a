"""randomize=adr: automatic domain randomization (OpenAI 2019, arXiv 1910.07113, section 5.2), for a supervised detector.

The range of each factor begins a tenth of the way from its nominal value to that of randomize=full. Where the model
succeeds at an end of a range, that end moves outward; where it fails, inward. `bounds.py`: what can grow, and the
distributions of a state; `growth.py`: the state and its rule;
`figure.py`: its course.
"""
