"""The tables of settings in the documentation are generated, and are those of today."""

from __future__ import annotations

import re
import shutil
import sys

import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling import write_docs
from maskmed_nnu.nnunet.plans_handling.settings import iaunet, maskattn_unet, maskmed, mirroring, simple_unet
from maskmed_nnu.nnunet.plans_handling.settings.nnunet import Encoder, PlainEncoder, ResidualEncoder, Stages
from maskmed_nnu.nnunet.plans_handling.settings.tables import TABLES, table, with_tables

PAGE = "docs/reference/settings.md"
OF_NNUNET = {name for one in (Encoder, PlainEncoder, ResidualEncoder, Stages) for name in one.model_fields}
SECTIONS = {
    "MaskMed": (maskmed.PlainMaskMed, maskmed.SetLossSettings, maskmed.MaskMedOrigin),
    "IAUNet": (
        iaunet.PlainIAUNet,
        iaunet.InstanceSettings,
        iaunet.ImageQueryLoss,
        iaunet.LearnedQueryLoss,
    ),
    "MaskAttn-UNet": (
        maskattn_unet.MaskAttnUNetKwargs,
        maskattn_unet.LabelTraining,
        maskattn_unet.EmbeddingLossSettings,
    ),
    "SimpleUNet": (
        simple_unet.SimpleUNetKwargs,
        simple_unet.SimpleESKNetKwargs,
        simple_unet.SimpleUNetTraining,
    ),
    "Mirroring": (mirroring.MirroringSettings,),
}


def test_the_documentation_is_up_to_date(checkout):
    assert write_docs.outdated_pages(checkout / "docs") == {}, (
        "run python -m maskmed_nnu.nnunet.plans_handling.write_docs"
    )


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_of_ours_has_a_row(checkout, section):
    text = (checkout / PAGE).read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE))
    ours = {name for model in SECTIONS[section] for name in model.model_fields} - OF_NNUNET
    assert ours <= documented


def test_every_table_is_in_the_documentation_and_all_tables_are_generated(checkout):
    page = (checkout / PAGE).read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- settings: (.+) -->", page)) == set(TABLES)
    assert page.count("| setting | meaning |") == len(TABLES)


def test_rows():
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.+) \|$", table(maskmed.MaskMedSettings), re.MULTILINE))
    assert rows["fsad.dropout"] == "dropout | `0.0` | a number from 0 to 1 | network"
    assert rows["num_queries"].endswith("| classes × 1.5, next multiple of 8 | an integer of 1 or more | network")
    assert '`"queries"` | `"pointwise"`, `"class_embedding"`' in rows["head"]
    assert all(row.count(" | ") == 3 for row in rows.values())
    (width,) = re.findall(r"^\| `width` \| .+ \|$", table(simple_unet.SimpleUNetSettings), re.MULTILINE)
    assert "| `32`; 16 and 48 in other presets |" in width


def test_a_name_that_is_no_table():
    with pytest.raises(InputError, match="no table of settings 'maskmed'; there are maskmed maskmed_nnu, "):
        with_tables("<!-- settings: maskmed -->\n<!-- end -->")


def test_the_command(checkout, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "docs"
    shutil.copytree(checkout / "docs", folder, ignore=shutil.ignore_patterns("images"))
    page = folder / "reference/settings.md"
    right = page.read_text(encoding="utf-8")
    page.write_text(right.replace("| feed-forward width | `512` |", "| feed-forward width | `7` |"), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["write_docs", str(folder), "--check"])
    with pytest.raises(InputError, match=r"The tables of settings in .*settings.md are not up to date"):
        write_docs.main()
    monkeypatch.setattr(sys, "argv", ["write_docs", str(folder)])
    write_docs.main()
    assert capsys.readouterr().out == f"rewritten: {page}\n"
    assert page.read_text(encoding="utf-8") == right
    monkeypatch.setattr(sys, "argv", ["write_docs", str(tmp_path / "empty")])
    with pytest.raises(InputError, match="no page of documentation"):
        write_docs.main()


def test_pydantic_is_for_those_who_read_plans(run_python):
    """Not for every interpreter of the environment, nor for who uses a network, a loss or the metrics alone."""
    done = run_python(
        "import sys, maskmed_nnu, maskmed_nnu._startup\n"
        "import maskmed_nnu.networks, maskmed_nnu.losses, maskmed_nnu.instances\n"
        "import maskmed_nnu.networks.iaunet, maskmed_nnu.losses.set_criterion, maskmed_nnu.instances.metrics\n"
        "sys.exit('pydantic' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr
