"""Addresses of object storage, read without the library that speaks to it."""

from __future__ import annotations

import re
from typing import NamedTuple

from biobert_scale.errors import UserError

SCHEME = "s3://"
_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([\w.=-]+(?:/[\w.=-]+)*)/?", re.ASCII)


class Address(NamedTuple):
    """What `s3://BUCKET/PREFIX` says."""

    bucket: str
    prefix: str


def parse_address(text: str, *, where: str) -> Address:
    """Read an address.

    Args:
        where: the option or setting that has it.

    Raises:
        UserError: it is none.
    """
    if (found := _ADDRESS.fullmatch(text)) is None:
        raise UserError(f"'{text}' is no address of object storage", where=where, remedy="s3://BUCKET/PREFIX")
    return Address(found[1], found[2])
