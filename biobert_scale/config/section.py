"""What every section of the settings has in common: its numbers are inside their intervals."""

from __future__ import annotations

from typing import ClassVar, get_type_hints

from biobert_scale.ranges import check_section


class Section:
    """A frozen dataclass whose numbers have types like `Annotated[int, "[1, 8]"]`; what is outside its
    interval is refused when the section is made.

    Args:
        path: the section's name in a recipe; "--" where its fields are a command's options.
    """

    _path: ClassVar[str]
    _intervals: ClassVar[dict[str, str]]

    def __init_subclass__(cls, *, path: str) -> None:
        hints = get_type_hints(cls, include_extras=True).items()
        cls._path = path
        cls._intervals = {name: hint.__metadata__[0] for name, hint in hints if hasattr(hint, "__metadata__")}

    def __post_init__(self) -> None:
        check_section(self, self._path, **self._intervals)
