from __future__ import annotations

import json

from result_tables import trainer_table

RECORD = {
    "label": "stock",
    "trainer": "T",
    "planner": "P",
    "overrides": {},
    "budget": {"steps": 1},
    "mean_dice": 0.5,
    "dice_per_class": {"a": 0.5},
    "parameters": 1,
    "multiply_adds": 1e9,
    "seconds_per_step": 1.0,
    "cpu_seconds_per_case": 1.0,
}


def write(work, records):
    (work / "results").mkdir()
    for seed, record in enumerate(records):
        (work / "results" / f"{seed}.json").write_text(json.dumps(RECORD | {"seed": seed} | record))
    return trainer_table(work, {"steps": 1}).splitlines()


def test_voxels_on_the_wrong_side_are_a_column_where_they_were_counted(tmp_path):
    counted = [{"wrong_side": {"voxels": 1000 * n, "share": n / 10}} for n in (1, 2)]
    head, _, row, *_ = write(tmp_path, counted)
    assert head.split("|")[4].strip() == "wrong side"
    assert row.split("|")[4].strip() == "1,500 (15.0%)"


def test_without_partners_the_table_is_as_before(tmp_path):
    head, _, row, *_ = write(tmp_path, [{}])
    assert "wrong side" not in head
    assert head.count("|") == row.count("|") == 9
