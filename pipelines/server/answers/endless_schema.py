"""Whether a JSON schema allows any document that ends.

`{"$ref": "#"}` inside a required property is legal JSON Schema and can never be written out: each
document would have to hold another one. A grammar with such a rule is called unproductive; what is
productive is found as a least fixed point (Hopcroft & Ullman, 1979, lemma 4.1), here over schemas.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

_UNIONS = ("anyOf", "oneOf")


def is_endless(schema: dict[str, Any]) -> bool:
    """Return whether nothing that ends can fit the schema, by its structure and references.

    >>> node = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    >>> is_endless(node), is_endless(node | {"required": ["next"]})
    (False, True)
    """
    nodes = list(_nodes(schema))
    ends = {id(node): False for node in nodes}
    has_changed = True
    while has_changed:
        has_changed = False
        for node in nodes:
            if not ends[id(node)] and _can_end(node, schema, ends):
                ends[id(node)] = has_changed = True
    return not ends[id(schema)]


def is_circular(schema: dict[str, Any]) -> bool:
    """Return whether a part of the schema is defined as itself, with nothing in between.

    JSON Schema forbids it (Core 2020-12, section 9.4.1): whoever checks a value never comes back.

    >>> is_circular({"anyOf": [{"$ref": "#"}, {"type": "null"}]})
    True
    """
    done: set[int] = set()
    return any(_returns(node, schema, set(), done) for node in _nodes(schema))


def _returns(node: Any, root: dict[str, Any], above: set[int], done: set[int]) -> bool:
    if not isinstance(node, dict) or id(node) in done:
        return False
    if id(node) in above:
        return True
    parts = [part for key in (*_UNIONS, "allOf") for part in _listed(node, key)]
    if "$ref" in node:
        parts.append(_resolved(node["$ref"], root))
    found = any(_returns(part, root, above | {id(node)}, done) for part in parts)
    done.add(id(node))
    return found


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _can_end(node: dict[str, Any], root: dict[str, Any], ends: dict[int, bool]) -> bool:
    """One round for one schema: true if all that it asks for is known to end."""

    def known(part: Any) -> bool:
        return ends.get(id(part), False) if isinstance(part, dict) else part is not False

    if "const" in node or "enum" in node:
        return True
    if "$ref" in node and not known(_resolved(node["$ref"], root)):
        return False
    if any(not any(map(known, _listed(node, key))) for key in _UNIONS if node.get(key)):
        return False
    if not all(map(known, _listed(node, "allOf"))):
        return False
    wanted = node.get("type")
    kinds = wanted if isinstance(wanted, list) else [wanted]
    return any(
        not (kind == "object" or (kind is None and "required" in node)) or _object_ends(node, known)
        if kind != "array"
        else _array_ends(node, known)
        for kind in kinds
    )


def _object_ends(node: dict[str, Any], known: Any) -> bool:
    properties = node.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    others = node.get("additionalProperties", True)
    return all(known(properties.get(name, others)) for name in _listed(node, "required"))


def _array_ends(node: dict[str, Any], known: Any) -> bool:
    least = node.get("minItems", 0)
    least = least if isinstance(least, int) else 0
    first = _listed(node, "prefixItems")
    needed = [*first[:least], *([node.get("items", True)] if least > len(first) else [])]
    return all(map(known, needed))


def _listed(node: dict[str, Any], key: str) -> list[Any]:
    found = node.get(key)
    return found if isinstance(found, list) else []


def _resolved(reference: Any, root: dict[str, Any]) -> Any:
    """Return what a local reference points at; anything else is the grammar's to judge."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return True
    found: Any = root
    for step in reference[1:].split("/")[1:]:
        step = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        elif isinstance(found, dict) and step in found:
            found = found[step]
        else:
            return True
    return found
