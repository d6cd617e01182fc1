"""Objects keep to the properties that their schema names, where it says nothing of others.

JSON Schema lets any further property in, and a model that is free to add some rarely stops. What is
written under the closed schema fits the open one as well; structured output elsewhere (OpenAI's
strict mode, xgrammar's) does the same.
"""

from typing import Any

_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_SCHEMAS = ("items", "additionalProperties", "contains")
_LISTS = ("anyOf", "oneOf", "prefixItems")
# Parts that are put together: what one of them does not name, another may.
_JOINED = ("allOf", "if", "dependentSchemas", "unevaluatedProperties")


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the closed schema; one whose objects are put together from parts stays as it is.

    >>> closed({"properties": {"a": {}}})
    {'properties': {'a': {}}, 'additionalProperties': False}
    """
    return schema if _is_joined(schema) else _closed(schema)


def _is_joined(value: Any) -> bool:
    if isinstance(value, dict):
        return any(key in value for key in _JOINED) or any(map(_is_joined, value.values()))
    return isinstance(value, list) and any(map(_is_joined, value))


def _closed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    found = dict(node)
    for key in _MAPS:
        if isinstance(node.get(key), dict):
            found[key] = {name: _closed(part) for name, part in node[key].items()}
    for key in _SCHEMAS:
        if key in node:
            found[key] = _closed(node[key])
    for key in _LISTS:
        if isinstance(node.get(key), list):
            found[key] = [_closed(part) for part in node[key]]
    named = node.get("properties")
    required = node.get("required", [])
    if (
        isinstance(named, dict)
        and isinstance(required, list)
        and set(map(str, required)) <= set(named)
        and not {"additionalProperties", "patternProperties", "$ref"} & set(node)
        and not any(key in node for key in ("anyOf", "oneOf", "minProperties"))
    ):
        found["additionalProperties"] = False
    return found
