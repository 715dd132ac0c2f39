"""Named entities as characters, by HTML's names: no DTD is read."""

from __future__ import annotations

from html.entities import html5

from lxml import etree


def entity_text(entity: etree._Element) -> str:
    """The character of an entity reference; a blank for an unknown name."""
    return html5.get(f"{(entity.text or '')[1:-1]};", " ")
