"""nnU-Net's commands end with a sentence; its functions raise."""

from __future__ import annotations

from importlib.metadata import entry_points
from types import ModuleType

import pytest

from maskmed_nnu._startup import ON_IMPORT
from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.entry_points import ENTRY_POINTS, wrap_entry_points


def test_every_command_in_a_module_of_ours_is_wrapped():
    scripts = [script for script in entry_points(group="console_scripts") if script.name.startswith("nnUNetv2_")]
    known = {(script.module, script.attr) for script in scripts if script.module in ON_IMPORT}
    workers = {("nnunetv2.inference.data_iterators", "preprocess_fromfiles_save_to_queue")}
    assert len(known) > 15 and known | workers == {(m, name) for m, names in ENTRY_POINTS.items() for name in names}


def test_an_input_error_ends_a_command_with_its_sentence_only():
    module = ModuleType("nnunetv2.run.run_training")

    def refuse() -> None:
        raise InputError("one sentence")

    module.run_training_entry = refuse
    wrap_entry_points(module)
    with pytest.raises(SystemExit) as caught:
        module.run_training_entry()
    assert caught.value.code == "one sentence"
    assert not issubclass(InputError, SystemExit)
