"""The tables of settings in the documentation, as markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from maskmed_nnu.errors import InputError
from maskmed_nnu.legal_values import legal_values
from maskmed_nnu.nnunet.plans_handling.settings import (
    iaunet,
    instances,
    maskattn_unet,
    maskmed,
    mirroring,
    nnunet,
    simple_unet,
)
from maskmed_nnu.nnunet.plans_handling.settings.schema import Settings, detail, nested_settings

TABLES: dict[str, tuple[type[Settings], ...]] = {
    "maskmed maskmed_nnu": (maskmed.MaskMedOrigin,),
    "maskmed arch_kwargs": (maskmed.MaskMedSettings,),
    "maskmed set_loss": (maskmed.SetLossSettings,),
    "iaunet arch_kwargs": (iaunet.IAUNetSettings,),
    "iaunet instance_loss": (iaunet.ImageQueryLoss,),
    "iaunet instance_loss, learned queries": (iaunet.LearnedQueryLoss,),
    "instances": (instances.InstanceSettings,),
    "maskattn_unet arch_kwargs": (maskattn_unet.MaskAttnUNetSettings,),
    "maskattn_unet maskattn_unet": (maskattn_unet.LabelTraining,),
    "maskattn_unet instance_loss": (maskattn_unet.EmbeddingLossSettings,),
    "simple_unet arch_kwargs": (simple_unet.SimpleUNetSettings, nnunet.Norm),
    "simple_unet simple_unet": (simple_unet.SimpleUNetTraining,),
    "mirroring": (mirroring.MirroringSettings,),
}
"""Name of a table in the documentation → the classes whose settings it lists."""
HEAD = "| setting | meaning | default | legal | used by |\n|---|---|---|---|---|"
MARKED = re.compile(r"(<!-- settings: (?P<name>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
QUOTED = re.compile(r'("\w+")')


def table(*sections: type[Settings]) -> str:
    """A row for each setting; ``fsad.dim`` is one of the settings of ``fsad``."""
    return "\n".join([HEAD, *(row for section in sections for row in _rows(section, section.used_by))])


def with_tables(page: str) -> str:
    """The page with new tables between its marks, ``<!-- settings: NAME -->`` and ``<!-- end -->``.

    Raises
    ------
    InputError
        Where a name is none of `TABLES`.
    """

    def fill(mark: re.Match[str]) -> str:
        sections = TABLES.get(mark["name"])
        if sections is None:
            raise InputError(f"There is no table of settings {mark['name']!r}; there are {', '.join(TABLES)}.")
        return f"{mark[1]}\n{table(*sections)}\n\n{mark[3]}"

    return MARKED.sub(fill, page)


def _rows(section: type[Settings], used_by: str, prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        assert field.description is not None
        legal = QUOTED.sub(r"`\1`", legal_values(field))
        cells = (f"`{prefix}{name}`", field.description, _default(field), legal, detail(field, "used_by") or used_by)
        yield f"| {' | '.join(cells)} |"
        nested = nested_settings(field)
        if nested is not None:
            yield from _rows(nested, used_by, f"{prefix}{name}.")


def _default(field: FieldInfo) -> str:
    rule: str = detail(field, "chosen_by")
    if rule and (field.is_required() or not detail(field, "in_plans")):
        return rule
    return f"`{json.dumps(field.get_default(call_default_factory=True))}`" + (f"; {rule}" if rule else "")
