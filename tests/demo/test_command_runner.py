"""Running commands: shown, logged, skipped when done, and told in one sentence when they fail."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest

from maskmed_nnu.demo import command_runner
from maskmed_nnu.demo.command_runner import Command
from maskmed_nnu.errors import CommandError, InputError
from maskmed_nnu.stock_command import executable

PYTHON = Path(sys.executable).name
run_commands = functools.partial(command_runner.run_commands, show=lambda text: sys.stdout.write(text))


def say(name, text, **settings):
    return Command(name, f"say {text}", [PYTHON, "-c", f"print({text!r})"], **settings)


def test_commands_and_their_output_are_shown_and_logged(tmp_path, capfd):
    run_commands([say("1_hello", "hello there")], logs=tmp_path / "logs", environment={})
    output = capfd.readouterr().out
    assert f"$ {PYTHON} -c" in output
    assert "\nhello there\n" in output
    assert (tmp_path / "logs" / "1_hello.log").read_text() == "hello there\n"


def test_the_environment_reaches_the_command(tmp_path, capfd):
    step = Command("1", "read", [PYTHON, "-c", "import os; print('raw is', os.environ['nnUNet_raw'])"])
    run_commands([step], logs=tmp_path, environment={"nnUNet_raw": "mine"})
    assert "raw is mine" in capfd.readouterr().out


def test_finished_steps_are_skipped(tmp_path, capfd):
    steps = [say("1", "first"), say("2", "second")]
    run_commands(steps, logs=tmp_path, environment={})
    capfd.readouterr()
    run_commands(steps, logs=tmp_path, environment={})
    output = capfd.readouterr().out
    assert "$" not in output
    assert output.count("finished before, skipped") == 2


def test_other_options_do_not_make_a_step_run_again(tmp_path, capfd):
    run_commands([say("1", "first", options=["cpu"])], logs=tmp_path, environment={})
    capfd.readouterr()
    run_commands([say("1", "first", options=["cuda"])], logs=tmp_path, environment={})
    assert "$" not in capfd.readouterr().out


def test_a_changed_step_makes_all_later_ones_run_again(tmp_path, capfd):
    run_commands([say("1", "one"), say("2", "two"), say("3", "three")], logs=tmp_path, environment={})
    capfd.readouterr()
    run_commands([say("1", "one"), say("2", "zwei"), say("3", "three")], logs=tmp_path, environment={})
    output = capfd.readouterr().out
    assert output.count("skipped") == 1
    assert "zwei\n" in output
    assert "three\n" in output


@pytest.mark.parametrize("change", ["read", "written"])
def test_a_step_runs_again_when_a_file_that_it_read_or_left_has_changed(tmp_path, capfd, change):
    read, written = tmp_path / "read", tmp_path / "written"
    (read / "below").mkdir(parents=True)
    (read / "below" / "a.txt").write_text("one")
    copy = [PYTHON, "-c", f"open({str(written)!r}, 'w').write(open({str(read / 'below' / 'a.txt')!r}).read())"]
    steps = [Command("1", "copy", copy, files=[read, written]), say("2", "second")]
    run_commands(steps, logs=tmp_path / "logs", environment={})
    capfd.readouterr()
    run_commands(steps, logs=tmp_path / "logs", environment={})
    assert capfd.readouterr().out.count("skipped") == 2
    if change == "read":
        (read / "below" / "a.txt").write_text("two, which is longer")
    else:
        written.unlink()
    run_commands(steps, logs=tmp_path / "logs", environment={})
    assert "skipped" not in capfd.readouterr().out
    assert written.read_text() == (read / "below" / "a.txt").read_text()


def test_only_a_step_whose_forerunners_stand_is_resumed(tmp_path, capfd):
    show = [PYTHON, "-c", "import sys; print('arguments', sys.argv[1:])"]
    steps = [say("1", "first"), Command("2", "train", show, resume=["--c"])]
    run_commands(steps, logs=tmp_path, environment={})
    assert "arguments []" in capfd.readouterr().out
    (tmp_path / "2.done").unlink()
    run_commands(steps, logs=tmp_path, environment={})
    assert "arguments ['--c']" in capfd.readouterr().out


def test_a_failing_command_is_named_with_its_log_and_stops_the_run(tmp_path, capfd):
    steps = [Command("1_bad", "break", [PYTHON, "-c", "print('why'); raise SystemExit(3)"]), say("2", "never")]
    with pytest.raises(CommandError, match=r"break failed with status 3: .*SystemExit.*\n.*1_bad\.log"):
        run_commands(steps, logs=tmp_path, environment={})
    assert (tmp_path / "1_bad.log").read_text() == "why\n"
    assert not (tmp_path / "1_bad.done").exists()
    assert "never\n" not in capfd.readouterr().out


def test_a_missing_command_is_told_with_its_cure():
    with pytest.raises(InputError, match=r"nnUNetv2_nothing is not in .*pip install nnunetv2"):
        executable("nnUNetv2_nothing")
