"""What every network of this package promises; a network joins with a short subclass."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from maskmed_nnu.errors import InputError


def biases_without_effect(network: nn.Module) -> set[str]:
    """Biases whose gradient is zero in exact arithmetic.

    A norm of each channel takes a convolution's bias away again, and a softmax what the keys' bias adds to all keys.
    """
    names = {f"{name}.conv.bias" for name, m in network.named_modules() if hasattr(m, "conv") and hasattr(m, "norm")}
    return names | {name for name, _ in network.named_parameters() if name.endswith("attention.key.bias")}


def tensors(output) -> list[Tensor]:
    """All tensors of a training output."""
    if isinstance(output, Tensor):
        return [output]
    return [t for part in output if part is not None for t in tensors(part)]


class NetworkContract:
    """Subclasses give ``build(spatial_dims, **overrides)`` and may narrow ``dims``.

    ``traced_dims`` are those in which the compiler is tried, which takes its time. A network that does not answer one
    dense map in evaluation mode overrides ``evaluate``.
    """

    dims = (2, 3)
    traced_dims = (2,)
    input_channels = 2
    num_classes = 3
    patch = {2: (32, 48), 3: (16, 24, 32)}

    def build(self, spatial_dims: int, **overrides) -> nn.Module:
        raise NotImplementedError(f"{type(self).__name__} does not say how its network is built")

    def evaluate(self, network: nn.Module, image: Tensor) -> Tensor:
        """All that ``network`` answers in evaluation mode, one row (or map) per sample."""
        return network(image)

    def image(self, spatial_dims: int, batch: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(spatial_dims)
        return torch.randn(batch, self.input_channels, *self.patch[spatial_dims], generator=generator)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.traced_dims:
            cls.test_it_is_copied_and_traced_by_the_compiler = None  # without parameters pytest would report a skip

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Every test that takes ``spatial_dims`` runs in the subclass's ``dims``, or in its ``traced_dims``."""
        if "spatial_dims" in metafunc.fixturenames:
            traced = metafunc.definition.originalname == "test_it_is_copied_and_traced_by_the_compiler"
            dims = self.traced_dims if traced else self.dims
            metafunc.parametrize("spatial_dims", dims, indirect=True, ids=[f"{nd}d" for nd in dims])

    @pytest.fixture
    def spatial_dims(self, request):
        torch.manual_seed(0)
        return request.param

    def test_evaluation_mode_answers_one_dense_map(self, spatial_dims):
        network = self.build(spatial_dims).eval()
        with torch.no_grad():
            output = self.evaluate(network, self.image(spatial_dims))
        assert output.shape == (2, self.num_classes, *self.patch[spatial_dims])
        assert output.isfinite().all()

    def test_every_parameter_gets_a_gradient(self, spatial_dims):
        network = self.build(spatial_dims).train()
        with torch.no_grad():
            for parameter in network.parameters():  # away from zeros that only the first step leaves
                parameter.add_(0.02 * torch.randn_like(parameter))
        sum((t * torch.randn_like(t)).sum() for t in tensors(network(self.image(spatial_dims)))).backward()
        parameters = dict(network.named_parameters())
        assert not [n for n, p in parameters.items() if p.grad is None]
        idle = biases_without_effect(network)
        assert len(idle) < len(parameters) / 3
        assert not [n for n, p in parameters.items() if n not in idle and not p.grad.any()]

    def test_samples_of_a_batch_do_not_see_each_other(self, spatial_dims):
        network = self.build(spatial_dims).eval()
        image = self.image(spatial_dims)
        with torch.no_grad():
            together, alone = self.evaluate(network, image), self.evaluate(network, image[1:])
        torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)

    def test_saved_and_loaded_it_answers_the_same(self, spatial_dims, tmp_path):
        network, other = self.build(spatial_dims).eval(), self.build(spatial_dims).eval()
        image = self.image(spatial_dims)
        torch.save(network.state_dict(), tmp_path / "weights.pth")
        with torch.no_grad():
            expected = self.evaluate(network, image)
            assert not torch.equal(self.evaluate(other, image), expected)
            other.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
            torch.testing.assert_close(self.evaluate(other, image), expected)

    def test_an_edge_that_a_level_cannot_divide_is_refused_with_the_legal_size(self, spatial_dims):
        network = self.build(spatial_dims)
        image = torch.randn(1, self.input_channels, *(n + 1 for n in self.patch[spatial_dims]))
        with pytest.raises(InputError, match="next legal patch is") as error:
            network(image)
        legal = [int(n) for n in str(error.value).split("legal patch is (")[1].split(")")[0].split(",")]
        with torch.no_grad():
            network.eval()(torch.randn(1, self.input_channels, *legal))

    def test_a_wrong_number_of_channels_is_told(self, spatial_dims):
        image = torch.randn(1, self.input_channels + 1, *self.patch[spatial_dims])
        with pytest.raises(InputError, match=f"{self.input_channels + 1} channel.*planned for {self.input_channels}"):
            self.build(spatial_dims)(image)

    def test_reduced_precision_stays_finite(self, spatial_dims):
        network = self.build(spatial_dims).eval()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            output = self.evaluate(network, self.image(spatial_dims))
        assert output.isfinite().all()

    def test_memory_estimate_grows_with_the_patch_and_counts_more_than_the_input(self, spatial_dims):
        network = self.build(spatial_dims)
        patch = self.patch[spatial_dims]
        size = network.compute_conv_feature_map_size(patch)
        assert size > math.prod(patch) * self.input_channels
        sizes = [network.compute_conv_feature_map_size([k * n for n in patch]) for k in (2, 4, 8)]
        # a loss at a fixed number of points does not grow
        assert sizes[2] - sizes[1] > 2 * (sizes[1] - sizes[0]) > 0

    def test_it_is_copied_and_traced_by_the_compiler(self, spatial_dims):
        torch._dynamo.reset()  # what it has seen in another test would turn sizes into variables
        network = copy.deepcopy(self.build(spatial_dims))
        image = self.image(spatial_dims)
        compiled = torch.compile(network, backend="eager", fullgraph=True)
        for mode in (True, False):
            network.train(mode)
            with torch.no_grad():
                expected = tensors(network(image))
                got = tensors(compiled(image))
            for ours, traced in zip(expected, got, strict=True):
                torch.testing.assert_close(traced, ours, rtol=1e-4, atol=1e-4)
