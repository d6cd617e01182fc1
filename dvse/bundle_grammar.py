"""The grammar of an opened bundle, for those who check ids and encode nothing: no torch needed."""

from dvse.grammar import Grammar
from dvse.image.geometry import geometry_from_dict
from dvse.storage.bundle import Bundle


def grammar_of(bundle: Bundle) -> Grammar:
    """Return the grammar that a tokenizer of the bundle has.

    Raises:
        BundleFormatError: an image spec without a geometry, or with one that cannot be read.

    >>> from dvse.storage.finding import find_bundle
    >>> grammar_of(Bundle.open(find_bundle("tiny"))).max_image_codes > 1
    True
    """
    if "image" not in bundle.sections:
        return Grammar(vocabulary=bundle.vocabulary, max_image_codes=1)
    geometry = geometry_from_dict(bundle.sections["image"].spec.get("geometry"))
    return Grammar(
        vocabulary=bundle.vocabulary,
        fixed_grid=geometry.fixed_grid,
        max_image_codes=geometry.max_positions,
    )
