"""Triton kernels that sample one group of value levels, forward and backward; `deformable_triton` launches them.

A program takes ``BLOCK_Q`` queries of one head and one image through all levels and points of the group. Its threads
lie along the channels, so that a corner is one coalesced read of a row of channels. Sums are in single precision.
"""

import triton
import triton.language as tl


@triton.jit
def _cell(reference, offset, size: tl.constexpr, real):
    """The cell below a position along one axis, and how far beyond that cell's centre it lies."""
    position = reference * size - 0.5 + tl.load(offset, real, 0.0).to(tl.float32)
    low = tl.floor(position)
    # two cells outside all is zero, however far it is, and 32 bits hold the index
    return tl.minimum(tl.maximum(low, -2.0), size).to(tl.int32), position - low


@triton.jit(do_not_specialize=["queries", "rows"])
def sample_kernel(
    value,  # [B, rows, HEADS or 1, CHANNELS]
    reference,  # [queries, DIMS], x first
    offsets,  # [B, queries, HEADS, SAMPLES, DIMS]
    weights,  # [B, queries, HEADS, SAMPLES]
    output,  # CHANNELS of each [B, queries, HEADS, OUTPUT_STRIDE]
    queries,
    rows,
    DIMS: tl.constexpr,
    HEADS: tl.constexpr,
    SAMPLES: tl.constexpr,  # levels times points, other groups' among them
    POINTS: tl.constexpr,
    LEVELS: tl.constexpr,
    # for each level of the group 32 bits of its first sample, its first row, and its size in x, y and z: one integer,
    # since a tuple has no index before Triton 3.4
    TABLE: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROW_STRIDE: tl.constexpr,
    HEAD_STRIDE: tl.constexpr,  # 0 where all heads read the same channels
    OUTPUT_STRIDE: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    head = tl.program_id(0) % HEADS
    first = tl.program_id(0) // HEADS * BLOCK_Q
    batch = tl.program_id(1).to(tl.int64)
    pair = (batch * queries + first) * HEADS + head
    query = tl.arange(0, BLOCK_Q)
    channel = tl.arange(0, BLOCK_C)
    real = first + query < queries
    filled = channel[None, :] < CHANNELS
    value += batch * rows * ROW_STRIDE + head * HEAD_STRIDE
    offsets += pair * SAMPLES * DIMS
    weights += pair * SAMPLES
    reference += (first + query) * DIMS
    reference_x = tl.load(reference, real, 0.0)
    reference_y = tl.load(reference + 1, real, 0.0)
    total = tl.full([BLOCK_Q, BLOCK_C], 0, tl.float32)
    for level in tl.static_range(LEVELS):
        first_sample = TABLE >> (160 * level) & 0xFFFFFFFF
        first_row = TABLE >> (160 * level + 32) & 0xFFFFFFFF
        size_x = TABLE >> (160 * level + 64) & 0xFFFFFFFF
        size_y = TABLE >> (160 * level + 96) & 0xFFFFFFFF
        size_z = TABLE >> (160 * level + 128) & 0xFFFFFFFF
        for point in range(POINTS):
            sample = query * (HEADS * SAMPLES) + first_sample + point
            weight = tl.load(weights + sample, real, 0.0).to(tl.float32)
            offset = offsets + sample * DIMS
            low_x, far_x = _cell(reference_x, offset, size_x, real)
            low_y, far_y = _cell(reference_y, offset + 1, size_y, real)
            if DIMS == 3:
                low_z, far_z = _cell(tl.load(reference + 2, real, 0.0), offset + 2, size_z, real)
            else:
                low_z, far_z = tl.full([BLOCK_Q], 0, tl.int32), tl.full([BLOCK_Q], 0, tl.float32)
            for corner in tl.static_range(1 << DIMS):
                x = low_x + corner % 2
                y = low_y + corner // 2 % 2
                z = low_z + corner // 4
                share_x = far_x if corner % 2 else 1 - far_x
                share_y = far_y if corner // 2 % 2 else 1 - far_y
                share_z = far_z if corner // 4 else 1 - far_z
                inside = real & (x >= 0) & (x < size_x) & (y >= 0) & (y < size_y) & (z >= 0) & (z < size_z)
                row = first_row + (z * size_y + y) * size_x + x
                cells = row.to(tl.int64)[:, None] * ROW_STRIDE + channel[None, :]
                read = tl.load(value + cells, inside[:, None] & filled, 0.0).to(tl.float32)
                total += (weight * share_x * share_y * share_z)[:, None] * read
    output += pair * OUTPUT_STRIDE
    tl.store(output + query[:, None] * (HEADS * OUTPUT_STRIDE) + channel[None, :], total, real[:, None] & filled)


@triton.jit(do_not_specialize=["queries", "rows"])
def sample_backward_kernel(
    value,
    reference,
    offsets,
    weights,
    output_grad,
    value_grad,  # single precision, or 64-bit integers: the gradient times ``scale``
    offsets_grad,
    weights_grad,
    scale,  # one double
    queries,
    rows,
    DIMS: tl.constexpr,
    HEADS: tl.constexpr,
    SAMPLES: tl.constexpr,
    POINTS: tl.constexpr,
    LEVELS: tl.constexpr,
    TABLE: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROW_STRIDE: tl.constexpr,
    HEAD_STRIDE: tl.constexpr,
    OUTPUT_STRIDE: tl.constexpr,
    FIXED_POINT: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradients of what `sample_kernel` reads, in the same shapes."""
    head = tl.program_id(0) % HEADS
    first = tl.program_id(0) // HEADS * BLOCK_Q
    batch = tl.program_id(1).to(tl.int64)
    pair = (batch * queries + first) * HEADS + head
    query = tl.arange(0, BLOCK_Q)
    channel = tl.arange(0, BLOCK_C)
    real = first + query < queries
    filled = channel[None, :] < CHANNELS
    value += batch * rows * ROW_STRIDE + head * HEAD_STRIDE
    value_grad += batch * rows * ROW_STRIDE + head * HEAD_STRIDE
    offsets += pair * SAMPLES * DIMS
    offsets_grad += pair * SAMPLES * DIMS
    weights += pair * SAMPLES
    weights_grad += pair * SAMPLES
    output_grad += pair * OUTPUT_STRIDE + query[:, None] * (HEADS * OUTPUT_STRIDE) + channel[None, :]
    grad = tl.load(output_grad, real[:, None] & filled, 0.0).to(tl.float32)
    reference += (first + query) * DIMS
    reference_x = tl.load(reference, real, 0.0)
    reference_y = tl.load(reference + 1, real, 0.0)
    for level in tl.static_range(LEVELS):
        first_sample = TABLE >> (160 * level) & 0xFFFFFFFF
        first_row = TABLE >> (160 * level + 32) & 0xFFFFFFFF
        size_x = TABLE >> (160 * level + 64) & 0xFFFFFFFF
        size_y = TABLE >> (160 * level + 96) & 0xFFFFFFFF
        size_z = TABLE >> (160 * level + 128) & 0xFFFFFFFF
        for point in range(POINTS):
            sample = query * (HEADS * SAMPLES) + first_sample + point
            weight = tl.load(weights + sample, real, 0.0).to(tl.float32)
            offset = offsets + sample * DIMS
            low_x, far_x = _cell(reference_x, offset, size_x, real)
            low_y, far_y = _cell(reference_y, offset + 1, size_y, real)
            if DIMS == 3:
                low_z, far_z = _cell(tl.load(reference + 2, real, 0.0), offset + 2, size_z, real)
            else:
                low_z, far_z = tl.full([BLOCK_Q], 0, tl.int32), tl.full([BLOCK_Q], 0, tl.float32)
            weight_grad = tl.full([BLOCK_Q], 0, tl.float32)
            x_grad = tl.full([BLOCK_Q], 0, tl.float32)
            y_grad = tl.full([BLOCK_Q], 0, tl.float32)
            z_grad = tl.full([BLOCK_Q], 0, tl.float32)
            for corner in tl.static_range(1 << DIMS):
                x = low_x + corner % 2
                y = low_y + corner // 2 % 2
                z = low_z + corner // 4
                share_x = far_x if corner % 2 else 1 - far_x
                share_y = far_y if corner // 2 % 2 else 1 - far_y
                share_z = far_z if corner // 4 else 1 - far_z
                inside = real & (x >= 0) & (x < size_x) & (y >= 0) & (y < size_y) & (z >= 0) & (z < size_z)
                row = first_row + (z * size_y + y) * size_x + x
                cells = row.to(tl.int64)[:, None] * ROW_STRIDE + channel[None, :]
                read = tl.load(value + cells, inside[:, None] & filled, 0.0).to(tl.float32)
                product = tl.sum(read * grad, 1)
                weight_grad += share_x * share_y * share_z * product
                x_grad += (product if corner % 2 else -product) * share_y * share_z
                y_grad += (product if corner // 2 % 2 else -product) * share_x * share_z
                z_grad += (product if corner // 4 else -product) * share_x * share_y
                part = (weight * share_x * share_y * share_z)[:, None] * grad
                if FIXED_POINT:
                    part = (part.to(tl.float64) * tl.load(scale)).to(tl.int64)
                tl.atomic_add(value_grad + cells, part, inside[:, None] & filled, sem="relaxed")
            tl.store(weights_grad + sample, weight_grad, real)
            tl.store(offsets_grad + sample * DIMS, weight * x_grad, real)
            tl.store(offsets_grad + sample * DIMS + 1, weight * y_grad, real)
            if DIMS == 3:
                tl.store(offsets_grad + sample * DIMS + 2, weight * z_grad, real)
