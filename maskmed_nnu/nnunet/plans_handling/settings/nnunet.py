"""nnU-Net's own arguments of networks, next to which ours are in ``arch_kwargs``.

They are typed here, so that an edited one is refused in words; nnU-Net explains them.
"""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import model_validator

from maskmed_nnu.nnunet.plans_handling.settings.schema import ClassPath, Count, Settings, misfit, setting

PerAxis = Annotated[list[Count], MinLen(1)]
PerStage = Annotated[list[PerAxis], MinLen(1)]


class Stages(Settings):
    """What every network takes."""

    n_stages: Count = setting("stages of the encoder")
    strides: PerStage = setting("stride of each stage along each axis")
    conv_op: ClassPath = setting("convolution")


class Norm(Settings):
    """The norm of networks that take instance norm, for nnU-Net's batches are small."""

    norm_op: ClassPath = setting(
        "norm of the convolutions; `torch.nn.modules.batchnorm.BatchNorm2d` or `…3d` is the published one",
        chosen_by="instance norm",
    )
    norm_op_kwargs: dict[str, Any] | None = setting("arguments of the norm", default={"eps": 1e-5, "affine": True})


class Encoder(Stages):
    """nnU-Net's encoder and decoder, but for what makes the encoder plain or residual."""

    features_per_stage: list[Count] | Count = setting("widths")
    kernel_sizes: list[PerAxis | Count] | Count = setting("kernel of each stage")
    n_conv_per_stage_decoder: list[Count] | Count = setting("convolutions of each stage of the decoder")
    conv_bias: bool = setting("bias of the convolutions")
    norm_op: ClassPath | None = setting("norm")
    norm_op_kwargs: dict[str, Any] | None = setting("its arguments")
    dropout_op: ClassPath | None = setting("dropout")
    dropout_op_kwargs: dict[str, Any] | None = setting("its arguments")
    nonlin: ClassPath | None = setting("nonlinearity")
    nonlin_kwargs: dict[str, Any] | None = setting("its arguments")

    @model_validator(mode="after")
    def _one_entry_per_stage(self) -> Encoder:
        for name in ("strides", "features_per_stage", "kernel_sizes", "n_conv_per_stage", "n_blocks_per_stage"):
            value = getattr(self, name, None)
            if isinstance(value, list) and len(value) != self.n_stages:
                raise misfit(name, f"a list of n_stages entries, {self.n_stages}")
        return self


class PlainEncoder(Encoder):
    """nnU-Net's default."""

    n_conv_per_stage: list[Count] | Count = setting("convolutions of each stage of the encoder")


class ResidualEncoder(Encoder):
    """That of the ResEnc presets."""

    n_blocks_per_stage: list[Count] | Count = setting("residual blocks of each stage of the encoder")


class UnusedEncoder(Settings):
    """Beside a backbone, which takes the encoder's place: what nnU-Net planned may stay, and only the norm is used."""

    n_stages: Count | None = setting("unused", default=None, in_plans=False)
    strides: PerStage | None = setting("unused", default=None, in_plans=False)
    conv_op: ClassPath | None = setting("unused", default=None, in_plans=False)
    features_per_stage: list[Count] | Count | None = setting("unused", default=None, in_plans=False)
    kernel_sizes: list[PerAxis | Count] | Count | None = setting("unused", default=None, in_plans=False)
    n_conv_per_stage: list[Count] | Count | None = setting("unused", default=None, in_plans=False)
    n_blocks_per_stage: list[Count] | Count | None = setting("unused", default=None, in_plans=False)
    n_conv_per_stage_decoder: list[Count] | Count | None = setting("unused", default=None, in_plans=False)
    conv_bias: bool | None = setting("unused", default=None, in_plans=False)
    norm_op: ClassPath = setting("norm of the pixel decoder")
    norm_op_kwargs: dict[str, Any] | None = setting("its arguments")
    dropout_op: ClassPath | None = setting("unused", default=None, in_plans=False)
    dropout_op_kwargs: dict[str, Any] | None = setting("unused", default=None, in_plans=False)
    nonlin: ClassPath | None = setting("unused", default=None, in_plans=False)
    nonlin_kwargs: dict[str, Any] | None = setting("unused", default=None, in_plans=False)


def network_arguments(configuration: dict[str, Any]) -> dict[str, Any]:
    """``arch_kwargs``, empty where they are none."""
    kwargs = configuration["architecture"].get("arch_kwargs")
    return kwargs if isinstance(kwargs, dict) else {}
