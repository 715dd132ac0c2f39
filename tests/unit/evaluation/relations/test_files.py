"""`prepare` on the official files of ChemProt and DDI."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.prepared import SPLITS, read_rows
from biobert_scale.evaluation.tasks.spec import known_tasks

XML = """<document id="{0}"><sentence id="{0}.s0" text="Bexin raises fentol.">
<entity id="e0" charOffset="0-4" type="drug" text="Bexin"/>
<entity id="e1" charOffset="13-18" type="drug" text="fentol"/>
<pair id="{0}.s0.p0" e1="e0" e2="e1" ddi="true" type="int"/></sentence></document>"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def chemprot(root: Path) -> Path:
    for number, (name, end) in enumerate((("training", ""), ("development", ""), ("test", "_gs")), 1):
        home = root / "any" / f"chemprot_{name}{end}"
        write(home / f"chemprot_{name}_abstracts{end}.tsv", f"{number}\tFentol lowers kinase A.\tYes.\n")
        rows = f"{number}\tT1\tCHEMICAL\t0\t6\tFentol\n{number}\tT2\tGENE-Y\t14\t22\tkinase A\n"
        write(home / f"chemprot_{name}_entities{end}.tsv", rows)
        relation = f"{number}\tCPR:4\tY \tINHIBITOR\tArg1:T1\tArg2:T2\n"
        write(home / f"chemprot_{name}_relations{end}.tsv", relation)
    return root


def ddi(root: Path, corpus: str = "corpus") -> Path:
    for split in SPLITS:
        write(root / "split" / f"{split}_files.tsv", f"all/{split}.xml\n")
        write(root / corpus / "all" / f"{split}.xml", XML.format(f"D.{split}"))
    return root


def test_the_official_files_become_masked_rows(tmp_path: Path) -> None:
    ddi(chemprot(tmp_path / "in"))
    counts = prepare(tmp_path / "in", tmp_path / "out").counts
    assert list(counts) == ["ChemProt", "DDI"] and not counts["DDI"]["published"]
    assert counts["ChemProt"]["dev"]["positives"] == 1 and "cut_entities" in counts["ChemProt"]["dev"]
    (row,) = read_rows(tmp_path / "out", known_tasks()["ChemProt"], "test")
    assert (row.id, row.document, row.texts, row.label) == (
        "3.T1.T2",
        "3",
        ["@CHEMICAL$ lowers @GENE$."],
        "CPR:4",
    )
    (row,) = read_rows(tmp_path / "out", known_tasks()["DDI"], "train")
    assert (row.document, row.texts, row.label) == ("D.train", ["@DRUG$ raises @DRUG$."], "DDI-int")


def test_a_file_that_belongs_to_them_is_an_input(tmp_path: Path) -> None:
    ddi(chemprot(tmp_path / "in"))
    prepare(tmp_path / "in", tmp_path / "out")
    for path in (
        tmp_path / "in" / "corpus" / "all" / "dev.xml",
        tmp_path / "in" / "any" / "chemprot_test_gs" / "chemprot_test_relations_gs.tsv",
    ):
        text = path.read_text(encoding="utf-8")
        path.write_text(text + "\n", encoding="utf-8")
        with pytest.raises(UserError, match="holds the finished output"):
            prepare(tmp_path / "in", tmp_path / "out")
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("task", "missing", "says"),
    [
        ("ChemProt", "any/chemprot_training/chemprot_training_entities.tsv", "no such file: .*entities"),
        ("DDI", "corpus/all/train.xml", r"all/train\.xml is not there: .*train_files\.tsv:1; unpack"),
    ],
)
def test_a_missing_one_is_named(tmp_path: Path, task: str, missing: str, says: str) -> None:
    ddi(chemprot(tmp_path / "in"))
    (tmp_path / "in" / missing).unlink()
    with pytest.raises(UserError, match=says):
        prepare(tmp_path / "in", tmp_path / "out", tasks=[task])


def test_labels_that_the_task_does_not_have_are_refused(tmp_path: Path) -> None:
    ddi(tmp_path / "in")
    lines = 'name = "mine"\nkind = "relations"\nmetric = "micro_f1"\nlabels = ["DDI-effect", "DDI-false"]\n'
    files = "".join(f'{split} = "{split}_files.tsv"\n' for split in SPLITS)
    task = write(tmp_path / "in" / "split" / "mine.toml", f'{lines}[[sources]]\nformat = "ddi"\n{files}')
    with pytest.raises(UserError, match="no label DDI-int in the task: mine; add it"):
        prepare(None, tmp_path / "out", tasks=[str(task)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "archive", "lists"),
    [("ChemProt", "official_tsv.tar.gz", ""), ("DDI", "DDIextraction_2013_xml.tar.xz", "split")],
)
def test_prepare_gives_the_same_from_the_official_files_and_from_the_masked_ones(
    real_data: Path, tmp_path: Path, task: str, archive: str, lists: str
) -> None:
    home = real_data / "blurb_sets" / task
    with tarfile.open(home / archive) as packed:
        packed.extractall(tmp_path / "official" / "unpacked", filter="data")
    if lists:
        for path in (home / lists).iterdir():
            write(tmp_path / "official" / "lists" / path.name, path.read_text(encoding="utf-8"))
    official = prepare(tmp_path / "official", tmp_path / "from-official", tasks=[task])
    masked = prepare(real_data / "blurb_sets", tmp_path / "from-masked", tasks=[task])
    assert official.counts[task]["published"] and masked.counts[task]["published"]
    for split in SPLITS:
        lines, expected = (
            (output / task / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
            for output in (tmp_path / "from-official", tmp_path / "from-masked")
        )
        different = sum(a != b for a, b in zip(lines, expected, strict=True))
        assert different == 0, f"{different:,} of {len(expected):,} rows of {split} are different"
