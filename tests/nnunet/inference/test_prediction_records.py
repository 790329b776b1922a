"""Records of what a case was predicted from, without a network."""

from __future__ import annotations

import pytest
import torch

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference import model_record
from maskmed_nnu.nnunet.inference.model_record import describe_model, json_digest, write_model_record
from maskmed_nnu.nnunet.inference.prediction_records import (
    CasePrediction,
    announce_case,
    cases_to_predict,
    recording,
    refuse_foreign_files,
)
from tests.nnunet.oracle import Oracle, dataset, oracle_predictor, plans

PLANS = {"plans_name": "IAUNetPlans"}
MODEL = {"weights": ["a"], "plans": json_digest(PLANS)}


@pytest.fixture
def case(tmp_path):
    image = tmp_path / "x.tif"
    image.write_bytes(b"pixels")
    return CasePrediction(tmp_path / "out", "x", [image], [tmp_path / "out" / "x.tif"])


def write(case, model=MODEL):
    announce_case(case, model)
    with recording(case.folder, case.name, PLANS):
        assert cases_to_predict([case], model)[0] == [0], "while it is written it is not predicted"
        for path in case.outputs:
            path.write_bytes(b"map")


def test_how_an_image_is_read_is_part_of_its_record(case):
    write(case)
    assert cases_to_predict([case], MODEL) == ([], [])
    assert cases_to_predict([case], {**MODEL, "weights": ["b"]})[0] == [0]
    stack = case._replace(options={"axes": "ZYX"})
    assert cases_to_predict([stack], MODEL) == (
        [0],
        ["predicted again, because their images were read with other options: x"],
    )
    write(stack)
    assert cases_to_predict([stack], MODEL) == ([], []) and cases_to_predict([case], MODEL)[0] == [0]


def test_what_another_network_writes_under_the_name_is_not_recorded(case):
    write(case)
    announce_case(case, MODEL)  # a run that was killed
    with recording(case.folder, case.name, {"plans_name": "nnUNetPlans"}) as outputs:
        assert outputs == []
    assert cases_to_predict([case], MODEL)[1] == [
        "predicted again, because there is no record of the images that they were predicted from: x"
    ]


def test_a_case_without_a_file_of_a_channel_is_told(case):
    missing = case._replace(inputs=[*case.inputs, case.inputs[0].with_name("y.tif")])
    with pytest.raises(
        InputError, match=r"y\.tif cannot be read \(No such file or directory\); x is predicted from it"
    ):
        announce_case(missing, MODEL)


def test_another_process_may_begin_to_predict_into_the_folder_meanwhile(case):
    """As nnU-Net's -num_parts has it."""

    class Begun(type(case.folder)):
        def exists(self):
            write_model_record(case.folder, MODEL, {})
            return True

    case.folder.mkdir()
    meanwhile = case._replace(outputs=[Begun(case.outputs[0])])
    refuse_foreign_files([meanwhile])


@pytest.mark.parametrize("name", ["dataset", "plans", "predicted_by", "predictions_coco"])
def test_the_spacing_of_a_volume_replaces_no_record(case, name):
    def refuse(ending):
        named = case._replace(name=name, outputs=[case.folder / f"{name}{ending}"])
        refuse_foreign_files([case, named], beside=["predictions_coco.json"])

    with pytest.raises(InputError, match=rf"x\.tif would be written to .*{name}\.json, .*; rename the image"):
        refuse(".tif")
    refuse(".png")


def test_weights_are_read_once_for_all_images_of_a_predictor(monkeypatch):
    description = dataset()
    states = [{"score": torch.tensor(0.5)}]
    predictor = oracle_predictor(Oracle(), plans(description), description, states=states)
    first = describe_model(predictor)
    with monkeypatch.context() as patch:
        patch.setattr(model_record, "_weights_digest", None)
        assert describe_model(predictor) == first
    predictor.list_of_parameters = [{"score": torch.tensor(0.6)}]
    assert describe_model(predictor) != first


def test_a_model_is_known_by_its_weights_plans_and_options():
    description = dataset()

    def model(*scores, plan=None, **options):
        states = [{"score": torch.tensor(score), "steps": torch.tensor([3], dtype=torch.int64)} for score in scores]
        return describe_model(
            oracle_predictor(Oracle(), plan or plans(description), description, states=states, **options)
        )

    assert model(0.5, 0.6) == model(0.6, 0.5)  # folds in another order
    others = [model(0.5), model(0.5, 0.6, use_mirroring=False), model(0.5, 0.6, tile_step_size=0.7)]
    others.append(model(0.5, 0.6, plan=plans(description, spacing=2.0)))
    assert all(model(0.5, 0.6) != other for other in others)
