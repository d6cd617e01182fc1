"""Small sample files that the project makes itself: pictures, recordings and texts to try DVSE on.

    python -m pipelines.tiny.samples DIR

`KNOWN` are of the kinds that `tiny` was made for: drawings of 32×32 pixels and digits spoken by
espeak-ng, synthesised ahead. The others show what it says to things that it does not know. Two
photographs come from scikit-learn; the rest is drawn or computed, the same bytes each time.
"""

from pipelines.tiny.samples.making import KNOWN, make_samples

__all__ = ["KNOWN", "make_samples"]
