"""The Triton kernels against `deformable_grid` in double precision; without a GPU they run in Triton's interpreter."""

from __future__ import annotations

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from packaging.version import Version
from torch import Tensor

from maskmed_nnu.networks.layers.maskmed import deformable_grid, deformable_rows, deformable_triton
from maskmed_nnu.networks.layers.maskmed.deformable import DeformableAttention

triton = pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}  # of the largest number


def make(shapes, channels, *, batch=1, queries=6, heads=2, width=4, points=1, reach=1.5, dtype=torch.float32):
    """Arguments of `attend` but for the choice what is projected first."""
    generator = torch.Generator().manual_seed(0)
    levels, dims = len(shapes), len(shapes[0])

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(DEVICE, dtype)

    values = [normal(batch, c, *shape).movedim(1, -1) for shape, c in zip(shapes, channels, strict=True)]
    projections = [normal(heads * width, c) for c in channels]
    reference = torch.rand(queries, dims, generator=generator).to(DEVICE)
    offsets = reach * normal(batch, queries, heads, levels, points, dims)
    weights = normal(batch, queries, heads, levels * points).float().softmax(-1)
    return values, projections, reference, offsets, weights.view(offsets.shape[:-1])


def results(form, choice, values, projections, reference, offsets, weights, *, scale=1.0, double=False) -> list[Tensor]:
    """The sum and the gradients of values, projections, offsets and weights."""
    inputs = [*values, *projections, offsets, weights]
    inputs = [t.detach().to(torch.double if double else t.dtype).requires_grad_() for t in inputs]
    count = len(values)
    offsets, weights = inputs[2 * count :]
    reference = reference.double() if double else reference
    attended = form(inputs[:count], inputs[count : 2 * count], choice, reference, offsets, weights)
    cotangent = scale * torch.randn(attended.shape, generator=torch.Generator().manual_seed(1))
    return [attended, *torch.autograd.grad(attended, inputs, cotangent.to(attended))]


def assert_close(got: list[Tensor], want: list[Tensor], tolerance: float) -> None:
    for index, (one, other) in enumerate(zip(got, want, strict=True)):
        assert one.shape == other.shape
        error = (one.double() - other).abs().max() / other.abs().max().clamp_min(1e-30)
        assert error < tolerance, f"result {index}: off by {error:.1e} of the largest number"


VOLUMES = {"shapes": [(4, 7, 5), (2, 3, 4)], "channels": (3, 8), "points": 2}, [False, True]
IMAGES = {"shapes": [(6, 9), (3, 5), (2, 2)], "channels": (8, 5, 6), "queries": 35, "heads": 1}, [False, True, True]
CASES = {
    "volumes": VOLUMES,
    "images": IMAGES,
    "two images, a level between": (
        {"shapes": [(3, 2), (5, 3), (2, 3)], "channels": (4, 3, 2), "batch": 2},
        [True, False, True],
    ),
    "one cell along axes": ({"shapes": [(1, 5, 1), (1, 1, 1)], "channels": (2, 3), "width": 1}, [False, True]),
    "one row of pixels": ({"shapes": [(1, 6), (4, 1)], "channels": (3, 2), "width": 5, "heads": 3}, [True, False]),
    "mostly outside": (
        {"shapes": [(3, 4, 2), (4, 4, 4)], "channels": (3, 2), "reach": 6.0, "queries": 20},
        [True, False],
    ),
    "one query": ({"shapes": [(3, 3, 3)], "channels": (33,), "queries": 1, "heads": 1, "width": 7}, [False]),
    "all projected": ({"shapes": [(3, 4), (2, 2)], "channels": (3, 2)}, [True, True]),
}
HALVES = {"volumes": VOLUMES, "images": IMAGES}


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, torch.float32) for case in CASES] + [(case, dtype) for case in HALVES for dtype in list(TOLERANCE)[1:]],
    ids=str,
)
def test_equals_the_form_in_pytorch(case, dtype):
    settings, first = CASES[case]
    arguments = make(**settings, dtype=dtype)
    got = results(deformable_triton.attend, first, *arguments)
    want = results(deformable_grid.attend, first, *arguments, double=True)
    assert {tensor.dtype for tensor in got[:-1]} == {dtype}
    assert_close(got, want, TOLERANCE[dtype])


@pytest.mark.parametrize("first", [[True, True], [False, True], [False, False]])
def test_no_image_gives_nothing(first):
    got = results(deformable_triton.attend, first, *make(shapes=[(3, 4), (2, 2)], channels=(3, 2), batch=0))
    assert got[0].shape == (0, 6, 2, 4) and not got[3].any()


def value_gradients(grad, values, reference, offsets, weights) -> list[Tensor]:
    """Of levels that are all sampled in their native channels."""
    shapes = [size for value in values for size in value.shape[1:-1]]
    levels = list(range(len(values)))
    operator = deformable_triton.sample_levels_backward
    return operator(grad, None, values, levels, shapes, reference, offsets, weights)[: len(values)]


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("scale", [1.0, 1e-20])
def test_deterministic_gradients_do_not_depend_on_the_order_of_the_queries(scale, deterministic):
    """Many queries meet in few cells; sums of floats come out a little different."""
    values, _, reference, offsets, weights = make([(3, 4)], (5,), queries=70, heads=1)
    grad = scale * torch.randn(1, 70, 1, 5, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    turned = [reference.flip(0), offsets.flip(1), weights.flip(1)]
    one = value_gradients(grad, values, reference, offsets, weights)[0]
    other = value_gradients(grad.flip(1), values, *turned)[0]
    torch.use_deterministic_algorithms(False)
    fast = value_gradients(grad, values, reference, offsets, weights)[0]
    fast_turned = value_gradients(grad.flip(1), values, *turned)[0]
    assert torch.equal(one, other) and not torch.equal(fast, fast_turned)
    torch.testing.assert_close(one, fast, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_gradients_that_are_not_finite_are_seen(bad, deterministic):
    """A gradient scaler skips the step for them."""
    values, _, reference, offsets, weights = make([(3, 4)], (5,))
    grad = torch.full((1, 6, 2, 5), bad, device=DEVICE)
    assert not value_gradients(grad, values, reference, offsets, weights)[0].isfinite().all()
    torch.use_deterministic_algorithms(False)
    assert not value_gradients(grad, values, reference, offsets, weights)[0].isfinite().all()


def test_operator_is_what_torch_expects_of_one():
    """Schema, shapes of fake tensors, gradient, and all of it traced by AOTAutograd."""
    values, _, reference, offsets, weights = make([(2, 3), (2, 2)], (3, 2), queries=2, heads=1)
    offsets, weights = offsets.requires_grad_(), weights.requires_grad_()
    projected = torch.randn(1, 4, 1, 3, device=DEVICE, requires_grad=True)
    arguments = (projected, values[:1], [0, -1], [2, 3, 2, 2], reference, offsets, weights)
    torch.library.opcheck(deformable_triton.sample_levels, arguments)


def test_compiled_in_one_graph_it_equals_the_form_in_pytorch(monkeypatch):
    torch.manual_seed(0)
    module = DeformableAttention(dim=8, heads=2, points=2, channels=(3, 4), spatial_dims=3).to(DEVICE)
    torch.nn.init.normal_(module.offsets.weight)
    torch.nn.init.normal_(module.weights.weight)
    values = [torch.randn(1, 3, 4, 5, 3, device=DEVICE), torch.randn(1, 2, 2, 3, 4, device=DEVICE)]
    query, reference = torch.randn(1, 4, 8, device=DEVICE), torch.rand(4, 3, device=DEVICE)
    monkeypatch.setattr(deformable_triton, "_can_launch", lambda: True)
    answers = []
    for compiled in (False, True):
        call = torch.compile(module, fullgraph=True, backend="aot_eager") if compiled else module
        monkeypatch.setattr(deformable_triton, "DEVICE_TYPES", (DEVICE,) if compiled else ())
        if compiled:
            monkeypatch.setattr(deformable_rows, "attend", None)
            monkeypatch.setattr(deformable_grid, "attend", None)
        inputs = [query.clone().requires_grad_(), *(value.clone().requires_grad_() for value in values)]
        result = call(inputs[0], reference, inputs[1:])
        answers.append([result, *torch.autograd.grad(result.square().sum(), [*inputs, *module.parameters()])])
    assert_close(answers[1], answers[0], 1e-5)


def test_a_second_derivative_is_refused():
    values, _, reference, offsets, weights = make([(2, 3)], (3,))
    offsets.requires_grad_()
    sampled = deformable_triton.sample_levels(None, values, [0], [2, 3], reference, offsets, weights)
    (gradient,) = torch.autograd.grad(sampled.square().sum(), offsets, create_graph=True)
    with pytest.raises(RuntimeError, match="sample_levels_backward.*no autograd formula"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("taken", "changed"),
    [
        (True, {}),
        (False, {"device": "cpu"}),
        (False, {"dtype": torch.double}),
        (False, {"exporting": True}),
        (False, {"available": False}),
        (False, {"reference": torch.zeros(1, requires_grad=True)}),
    ],
    ids=str,
)
def test_taken_on_a_gpu_where_triton_works(taken, changed, monkeypatch):
    case = {"device": "cuda", "dtype": torch.half, "exporting": False, "available": True, "reference": torch.zeros(1)}
    case |= changed
    monkeypatch.setattr(deformable_triton, "is_exporting", lambda: case["exporting"])
    monkeypatch.setattr(deformable_triton, "_can_launch", lambda: case["available"])
    tensor = SimpleNamespace(device=SimpleNamespace(type=case["device"]), dtype=case["dtype"])
    assert deformable_triton.applies(tensor, case["reference"], [tensor]) is taken


COMPILE = """
import torch
from types import SimpleNamespace
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from maskmed_nnu.networks.layers.maskmed import deformable_kernels as kernels, deformable_triton

driver.set_active(SimpleNamespace(
    get_current_target=lambda: GPUTarget("cuda", 90, 32), get_current_device=lambda: 0, get_current_stream=lambda _: 0,
))

class Compiled:
    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return lambda *arguments, **constants: print(self.kernel.warmup(*arguments, grid=grid, **constants).asm["ptx"])

kernels.sample_kernel = Compiled(kernels.sample_kernel)
kernels.sample_backward_kernel = Compiled(kernels.sample_backward_kernel)
value = torch.randn(1, 4, 5, 6, 32).half().requires_grad_()
offsets, weights = torch.randn(1, 9, 2, 1, 4, 3).half(), torch.rand(1, 9, 2, 1, 4)
sampled = deformable_triton.sample_levels(None, [value], [0], [4, 5, 6], torch.rand(9, 3), offsets, weights)
sampled.sum().backward()
"""


@pytest.mark.skipif(Version(triton.__version__) < Version("3.3"), reason="adds numbers one by one")
def test_compiled_for_hopper_it_reads_16_bytes_at_a_time_and_adds_four_numbers(monkeypatch):
    """What the interpreter takes, the compiler may refuse; it needs no GPU."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"ld\.global[.\w]*\.v4\.b32", done.stdout)
    assert re.search(r"(atom|red)\.global[.\w]*\.v4\.f32", done.stdout)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_more_numbers_than_32_bits_count():
    value = torch.zeros(1, 2**15, 2**15, 3, dtype=torch.half, device=DEVICE)
    value[0, -1, -1] = torch.tensor([1.0, 2, 3])
    reference = torch.full((1, 2), 1 - 0.5**16, device=DEVICE)
    offsets = torch.zeros(1, 1, 1, 1, 1, 2, device=DEVICE)
    sampled = deformable_triton.sample_levels(
        None, [value], [0], [2**15, 2**15], reference, offsets, torch.ones(1, 1, 1, 1, 1, device=DEVICE)
    )
    assert sampled.flatten().tolist() == [1, 2, 3]
