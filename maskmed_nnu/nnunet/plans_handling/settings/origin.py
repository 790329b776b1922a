"""Which release of ours made the plans."""

from __future__ import annotations

from maskmed_nnu.nnunet.plans_handling.settings.schema import Settings, setting


class Origin(Settings):
    """``maskmed_nnu``, at the top level of the plans of every network."""

    used_by = "for information"
    version: str = setting(
        "version of maskmed_nnu that made the plans", default="unknown", chosen_by="the installed one", in_plans=False
    )
