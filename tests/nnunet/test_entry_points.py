"""nnU-Net's commands end with a sentence; its functions raise."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

import pytest

from maskmed_nnu._startup import ON_IMPORT
from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.entry_points import ENTRY_POINTS, wrap_entry_points
from maskmed_nnu.signals import Interrupted


def test_every_command_in_a_module_of_ours_is_wrapped():
    scripts = [script for script in entry_points(group="console_scripts") if script.name.startswith("nnUNetv2_")]
    known = {(script.module, script.attr) for script in scripts if script.module in ON_IMPORT}
    workers = {
        ("nnunetv2.inference.data_iterators", "preprocess_fromfiles_save_to_queue"),
        ("nnunetv2.run.run_training", "run_ddp"),
    }
    assert len(known) > 15 and known | workers == {(m, name) for m, names in ENTRY_POINTS.items() for name in names}


def training_module(run_training_entry: Callable[[], None]) -> Any:
    module: Any = ModuleType("nnunetv2.run.run_training")
    run_training_entry.__name__ = "run_training_entry"
    module.run_training_entry = module.run_ddp = run_training_entry
    wrap_entry_points(module)
    return module


def test_an_input_error_ends_a_command_with_its_sentence_only():
    def refuse() -> None:
        raise InputError("one sentence")

    module = training_module(refuse)
    with pytest.raises(SystemExit) as caught:
        module.run_training_entry()
    assert caught.value.code == "one sentence"
    assert not issubclass(InputError, SystemExit)


@pytest.mark.parametrize(("sentence", "said"), [("", "with --c resumes from the last checkpoint."), (None, "")])
def test_a_signal_ends_a_command_with_a_sentence_that_was_not_said_before(sentence, said, capsys):
    def stop() -> None:
        raise Interrupted(15, sentence)

    with pytest.raises(SystemExit) as caught:
        training_module(stop).run_training_entry()
    printed = capsys.readouterr().err
    assert caught.value.code == 143 and said in printed and printed.count("\n") == bool(said)
