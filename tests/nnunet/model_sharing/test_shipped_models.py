"""The models that come with maskmed_nnu: whole, small, and what their cards say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from maskmed_nnu.nnunet.inference.case_prediction import SCORE_THRESHOLD
from maskmed_nnu.nnunet.inference.export_prediction import revert_preprocessing
from maskmed_nnu.nnunet.inference.input_cases import Case
from maskmed_nnu.nnunet.inference.model_package import built_in_models, example_picture
from maskmed_nnu.nnunet.inference.model_source import open_model
from maskmed_nnu.nnunet.inference.trained_model import preprocess


def test_nuclei_is_whole_and_small():
    assert list(built_in_models()) == ["nuclei"]
    model = open_model("nuclei")
    assert model.path.stat().st_size < 4e6 and model.manifest.precision == "float16"
    assert model.manifest.name == "nuclei" and model.dataset_json["numTraining"] == 200
    card = model._package.read("README.md").decode()
    assert "CC0" in card and "| F1@0.5 |" in card and "| images | 40 |" in card


def test_nuclei_finds_those_of_its_example():
    model, picture = open_model("nuclei"), example_picture("nuclei")
    predictor = model.predictor(["all"], device="cpu", mirroring=False)
    assert np.asarray(Image.open(picture)).shape == (256, 320)
    _, data, properties = preprocess(predictor, Case("nuclei_example", [picture]))
    packed = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    (found,) = revert_preprocessing(packed, properties)
    assert np.count_nonzero(found.scores >= SCORE_THRESHOLD) == pytest.approx(
        45, abs=5
    )  # drawn by benchmarks/nuclei_picture.py
