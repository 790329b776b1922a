"""What IAUNet and its loss answer in 2D, written down: a change for volumes must not reach images.

Parameters and images follow a formula and the numbers are float64, so that no generator and no processor matters.
"""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
from torch import Tensor, nn

from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.losses.targets import SetTargets
from maskmed_nnu.networks import IAUNet
from tests.networks.small_iaunet import build

SETTINGS = {
    "image queries": {},
    "coarse masks": {"levels": 1, "pyramid": (8,), "query_stride": 4, "window": 30},
    "masked attention": {"masked_attention": True, "blocks_per_level": 2},
    "learned queries": {"queries": "learned", "levels": 1, "pyramid": (8,)},
}
EXPECTED: dict[str, dict[str, object]] = {
    "image queries": {
        "names": "b99cd86add413811",
        "estimate": 102525,
        "outputs": [-0.19284874004020544, -0.002123763820127965, 0.002687299886358391, 0.003483312334807525],
        "boxes": [-20.437165450210646, -17.71329411797151],
        "masks": [-17.676657613334143, -7.595451916016825],
        "scores": [-0.5373669574987692, -0.5374119829590331],
        "semantic": [-0.0025777341248228195, 0.0018097986600390569],
        "places": [-0.5710299581071582, 0.01185871378195756],
        "loss": [
            43.474471135042485,
            2.174704441639864,
            0.1291438366101741,
            0.07068580614070567,
            40.127601813823524,
            0.7725055940773407,
            0.7857142686843872,
        ],
        "gradient": 63.15902166775579,
    },
    "coarse masks": {
        "names": "09ff280f99da6177",
        "estimate": 28733,
        "outputs": [0.047926169975302454, -0.004523094770176314, -0.0011016992493217163, 0.0018934865232587107],
        "boxes": [-3.447711049385531, 0.23760563384807856],
        "masks": [-4.341397430499498, 5.271154357783094],
        "scores": [-0.6294896952923589, -0.6293269404872699],
        "semantic": [0.0024243178933501136, -0.0005881917555782945],
        "places": [-0.5326093527179214, -0.0033612662776820843],
        "loss": [
            16.14582031617354,
            1.7877568520006482,
            0.5419236219203293,
            0.47975664182841216,
            12.12355867880338,
            0.19114425787202957,
            0.28931159898638725,
        ],
        "gradient": 18.57108174157575,
    },
    "masked attention": {
        "names": "298ea0096832c5d7",
        "estimate": 121657,
        "outputs": [0.45006518063374246, 0.017972145843095616, 0.002687299886358391, -0.01022793771593847],
        "boxes": [-20.437165450210646, -17.71329411797151],
        "masks": [-18.053600344315438, -8.86075081119577],
        "scores": [-0.3863210986931478, -0.3887015983087984],
        "semantic": [-0.0033892646363684067, -0.002993153190334524],
        "places": [-0.5710299581071582, 0.01185871378195756],
        "loss": [
            43.000971131911236,
            1.7069346685517386,
            0.12746386299348447,
            0.06950066473583412,
            40.127601813823524,
            0.7725055940773407,
            0.7857142686843872,
        ],
        "gradient": 62.05268855780814,
    },
    "learned queries": {
        "names": "98168d053cb06052",
        "estimate": 18812,
        "outputs": [0.00510575716155956, -0.07076799181215884, 0.008755984514904894, -0.013150840884071112],
        "boxes": [-0.6213041332644025, -0.6213041332644025],
        "masks": [-5.947058008168385, -5.947058008168385],
        "scores": [-0.29644044829810295, -0.2966372363812894],
        "semantic": [0.0005555646039798444, -0.0011591073804826453],
    },
}


def wave(shape: tuple[int, ...], number: float) -> Tensor:
    return (torch.arange(math.prod(shape), dtype=torch.float64) * (0.61 + 0.013 * number) + number).sin().view(shape)


def written_network(settings: dict) -> IAUNet:
    network = build(**settings, score_threshold=0.0).double()
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(wave(tuple(parameter.shape), number) * (0.3 if parameter.ndim > 1 else 0.1))
        for name, parameter in network.named_parameters():
            if name.endswith("norm.weight") or isinstance(network.get_submodule(name.rpartition(".")[0]), nn.LayerNorm):
                parameter.add_(1)
    return network


def digest(tensor: Tensor) -> float:
    """A sum in which each number counts differently."""
    weights = wave((tensor.numel(),), 3)
    return float((tensor.detach().double().flatten() * weights).sum() / weights.norm())


def targets(shape: tuple[int, int]) -> list[SetTargets]:
    """Overlapping, disconnected and tiny objects of two classes; the second sample has a part of unknown truth."""
    maps = torch.zeros(2, 2, *shape, dtype=torch.int16)
    maps[0, 0, 1:12, 2:13], maps[0, 0, 14:27, 20:31], maps[0, 1, 18:30, 24:44], maps[0, 1, 3, 40] = 3, 1, 2, 9
    maps[1, 0, 4:20, 30:47], maps[1, 0, 22:25, 3:6] = 5, 5
    valid = torch.ones(shape, dtype=torch.bool)
    valid[26:, :9] = False
    return [
        SetTargets(maps[0], *torch.tensor([(0, 3, 0), (1, 2, 1), (0, 1, 1), (1, 9, 0)]).unbind(1)),
        SetTargets(maps[1], *torch.tensor([(0, 5, 1)]).unbind(1), valid),
    ]


def answers(settings: dict) -> dict[str, object]:
    network = written_network(settings)
    names = sorted((name, tuple(value.shape)) for name, value in network.state_dict().items())
    image = wave((2, 2, 32, 48), 0.2)
    output = network.train()(image)
    found = network.eval().predict_instances(image)
    result: dict[str, object] = {
        "names": hashlib.sha256(repr(names).encode()).hexdigest()[:16],
        "estimate": network.compute_conv_feature_map_size((32, 48)),
        "outputs": [digest(part) for part in (*output[:3], output.dense_logits[0])],
        "boxes": [digest(one.boxes) for one in found],
        "masks": [digest(torch.cat([mask.flatten() for mask in one.masks])) for one in found],
        "scores": [digest(one.scores) for one in found],
        "semantic": [digest(one.semantic) for one in found],
    }
    if network.from_image:
        result["places"] = [digest(part) for part in output[4:] if part is not None]
        criterion = LocationCriterion(num_classes=2, mask_head=network.mask_head, window=network.window)
        loss = criterion(output, targets((32, 48)))
        (loss.total + output.dense_logits[0].square().mean()).backward()
        gradients = [parameter.grad.square().sum() for parameter in network.parameters()]
        result["loss"] = [part.item() for part in loss]
        result["gradient"] = float(torch.stack(gradients).sum().sqrt())
    return result


@pytest.mark.parametrize("name", SETTINGS)
def test_images_are_answered_as_ever(name):
    got, expected = answers(SETTINGS[name]), dict(EXPECTED[name])
    assert got.keys() == expected.keys()
    assert got.pop("names") == expected.pop("names")
    for key, value in expected.items():
        # masks are rounded to bytes, one of which may fall to the other side
        assert got[key] == pytest.approx(value, rel=1e-6, abs=0.1 if key == "masks" else 1e-6), key
