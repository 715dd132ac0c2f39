"""Every number of a section and of a command has an interval; what is outside is refused by name."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biobert_scale import cli, commands
from biobert_scale.config import Config, SlurmConfig
from biobert_scale.errors import UserError
from biobert_scale.launch.render import LaunchConfig
from biobert_scale.launch.site import Site
from biobert_scale.ranges import check_number
from biobert_scale.recipes import load_config, structure_config
from biobert_scale.recipes.converter import strict_converter

RECIPE = asdict(load_config("demo"))
NUMBERS = st.one_of(
    st.sampled_from([-1, 0, 1, -1.0, -0.0, 0.0, 0.5, 1.0, 1.5, math.nan, math.inf, -math.inf]),
    st.sampled_from([10**9, 10**18, 10**400, -(10**18), 2**31, 2**63, 1e300, 5e-324, 1e-300]),
    st.integers(),
    st.floats(),
)


def kinds(annotation: Any) -> set[type]:
    return set().union(*map(kinds, get_args(annotation))) if get_args(annotation) else {annotation}


def numeric_fields(section: type, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, type) of every number of a section and of those in it, from the dataclasses themselves."""
    hints = typing.get_type_hints(section)
    for field in fields(section):
        annotation = hints[field.name]
        if is_dataclass(annotation):
            yield from numeric_fields(annotation, (*path, field.name))  # type: ignore[arg-type]
        elif get_origin(annotation) is not typing.Literal and kinds(annotation) & {int, float}:
            yield (*path, field.name), annotation


FIELDS = list(numeric_fields(Config))
EVERY_FIELD = pytest.mark.parametrize(
    ("path", "annotation"), FIELDS, ids=[".".join(path) for path, _ in FIELDS]
)


def shaped(annotation: Any, number: float) -> Any:
    """A value of a field's type that holds the number."""
    if get_origin(annotation) is tuple:
        return [shaped(get_args(annotation)[0], number)] * (1 if ... in get_args(annotation) else 2)
    if annotation is int and (isinstance(number, int) or math.isfinite(number)):
        return int(number)
    return number


def put(raw: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    head, *rest = path
    return {**raw, head: put(raw[head], tuple(rest), value) if rest else value}


def is_finite(value: Any) -> bool:
    if isinstance(value, dict | list | tuple):
        return all(map(is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int | float) or abs(value) < 1e308


def test_there_are_fields() -> None:
    assert len(FIELDS) > 60 and {"betas", "seeds", "head_rows"} <= {path[-1] for path, _ in FIELDS}


@EVERY_FIELD
@settings(max_examples=25, deadline=None)
@given(number=NUMBERS)
@pytest.mark.fault(
    "NaN, infinite, negative, zero or absurd values of every field of a recipe",
    "refused by name, or sane",
)
def test_any_number_of_a_recipe_is_sane_or_refused_by_its_name(
    path: tuple[str, ...], annotation: Any, number: float
) -> None:
    try:
        config = structure_config(put(RECIPE, path, shaped(annotation, number)), where="recipe")
    except UserError as error:
        assert "\n" not in str(error) and error.where.startswith("recipe: ")
        # Two fields that contradict each other are told by either one's name.
        assert path[-1] in str(error), error
    else:
        assert is_finite(asdict(config))


@EVERY_FIELD
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1, 10**400])
def test_what_no_field_can_be_is_refused_with_its_key(
    path: tuple[str, ...], annotation: Any, number: float
) -> None:
    with pytest.raises(UserError) as refused:
        structure_config(put(RECIPE, path, shaped(annotation, number)), where="recipe")
    assert refused.value.where == "recipe: " + ".".join(path)


@pytest.mark.parametrize("section", [SlurmConfig, LaunchConfig, Site])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_number_of_a_cluster_is_sane_or_refused(section: type, data: st.DataObject) -> None:
    path, annotation = data.draw(st.sampled_from(list(numeric_fields(section))))
    value = shaped(annotation, data.draw(NUMBERS))
    raw = strict_converter().unstructure(section())
    try:
        made: Any = strict_converter().structure(put(raw, path, value), section)
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, TypeError) or (
            isinstance(error, UserError) and path[-1] in str(error).replace("-", "_")
        )
    else:
        assert is_finite(asdict(made)) and all(
            number >= 0 for number in asdict(made).values() if isinstance(number, int | float)
        )


def numeric_options(name: str) -> tuple[set[str], Any]:
    function = commands.function_of(name)
    hints = typing.get_type_hints(inspect.unwrap(function))
    return {
        option for option, hint in hints.items() if option != "return" and kinds(hint) & {int, float}
    }, function


@pytest.mark.parametrize("name", sorted(set(commands.COMMANDS) - {"train"}))
def test_every_number_of_a_command_has_an_interval(name: str) -> None:
    options, function = numeric_options(name)
    assert options == set(getattr(function, "intervals", {}))
    defaults = {
        option: parameter.default
        for option, parameter in inspect.signature(function).parameters.items()
        if option in options and parameter.default is not inspect.Parameter.empty
    }
    for option, default in defaults.items():
        check_number(default, function.intervals[option], option)


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("plan --device-memory-gib nan", "--device-memory-gib"),
        ("plan --reserve inf", "--reserve"),
        ("plan --devices -4", "--devices"),
        ("train --config demo --dry-run --compute.head-rows -1", "compute.head_rows"),
        ("train --config demo --dry-run --device-tflops nan", "--device-tflops"),
        ("train --config demo --dry-run --training.optimizer.betas 1.5 0.9", "training.optimizer.betas"),
        ("train --config demo --tokens t --output o --save-before-limit nan", "--save-before-limit"),
        ("train --config demo --tokens t --output o --model.num-attention-heads 0", "num_attention_heads"),
        ("evaluate finetune --prepared p --task t --model m --output o --seed 1 -2", "--seed"),
        ("evaluate finetune --prepared p --task t --model m --output o --dropout 1.5", "dropout"),
        ("evaluate finetune --prepared p --task t --model m --output o --grid.epochs 0", "epochs"),
        ("corpus build --raw r --output o --workers 0", "--workers"),
        ("corpus build --raw r --output o --executor slurm --poll-seconds nan", "--poll-seconds"),
        ("corpus synthesize --output o --seed -1", "--seed"),
        (
            "tokens build --corpus c --vocabulary v --output o --validation-fraction nan",
            "validation_fraction",
        ),
        ("checkpoint prune run --keep-last 0", "--keep-last"),
        ("doctor --timeout-seconds nan", "--timeout-seconds"),
        ("launch slurm --nodes 0", "--nodes"),
        ("launch slurm --settings training.optimizer.learning-rate=nan", "training.optimizer.learning_rate"),
        ("plan --devices four", "--devices: invalid literal for int()"),
        ("plan --no-such-option", "Unrecognized options: --no-such-option"),
        ("corpus build --raw r", "--output PATH"),
    ],
)
def test_a_command_refuses_a_number_in_one_line(
    command: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command.split()) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("biobert-scale: ") and key in complaint and complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "words"),
    [
        ("[1, 8]", (1, 8, 2.5), (0, 9, math.nan, -math.inf, 0.999), "a number from 1 to 8"),
        ("(0, 1]", (1e-300, 1), (0, -0.0, 1.01, math.inf), "a number above 0, at most 1"),
        ("[0, 1)", (0, 0.5), (1, -1e-300), "a number from 0, below 1"),
        ("0 or [8, 512]", (0, 8, 512), (1, 7, 513, -1), "0 or a number from 8 to 512"),
    ],
)
def test_an_interval_holds_what_it_says(
    interval: str, inside: tuple[float, ...], outside: tuple[float, ...], words: str
) -> None:
    check_number(inside, interval, "key")
    check_number(None, interval, "key")
    for number in outside:
        with pytest.raises(UserError, match="key cannot be") as refused:
            check_number((inside[0], number), interval, "section.key")
        assert refused.value.where == "section.key" and refused.value.remedy == f"use {words}"
