"""Nested dictionaries, as TOML and JSON hold settings, by dotted keys."""

from __future__ import annotations

from typing import Any


def has(tree: Any, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True


def keys(tree: dict[str, Any], section: str = "") -> set[str]:
    """The dotted keys of all values."""
    found: set[str] = set()
    for name, value in tree.items():
        found |= keys(value, f"{section}{name}.") if isinstance(value, dict) else {section + name}
    return found


def get(tree: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        tree = tree[name]
    return tree


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a key, and make its sections; below something that is no section nothing is set."""
    *sections, last = key.split(".")
    for name in sections:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            return
    tree[last] = value


def pop(tree: dict[str, Any], key: str) -> Any:
    """Take a key out, and the sections that are empty without it."""
    name, _, rest = key.partition(".")
    if not rest:
        return tree.pop(name)
    value = pop(tree[name], rest)
    if not tree[name]:
        del tree[name]
    return value


def override(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`base` with what `own` sets, key by key."""
    return base | {
        name: override(base[name], value)
        if isinstance(value, dict) and isinstance(base.get(name), dict)
        else value
        for name, value in own.items()
    }
