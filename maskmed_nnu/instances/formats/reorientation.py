"""A volume with its axes exchanged and turned round, so that they run as an orientation code says, without resampling.

Each value keeps its place in the world and its type. The code is nibabel's, as in `world_axes`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats.endings import NIFTI, ending
from maskmed_nnu.instances.formats.geometry import Geometry, unknown_sentence
from maskmed_nnu.instances.formats.volumes import check_complete, read_forms, read_header
from maskmed_nnu.instances.formats.world_axes import axis_codes
from maskmed_nnu.itk import sitk

# these libraries have no types
_ITK: Any = sitk
_TURNS: Any = orientations


def code_of(path: Path) -> str:
    """The orientation code of a volume, from its header.

    Raises:
        InputError: where it does not say how it lies, or says two things.
        RuntimeError, or what nibabel raises: where there is no such header.
    """
    if ending(path) not in NIFTI:
        code = axis_codes(read_header(path).geometry)
        if code is None:
            raise InputError(unknown_sentence(path))
        return code
    shape, forms = read_forms(path)
    used = [f for f, number in ((forms.qform, forms.qform_code), (forms.sform, forms.sform_code)) if number > 0]
    if not used:
        raise InputError(
            f"{path} does not define its orientation, because its qform_code and sform_code are 0; set its "
            "affine, or leave the file out."
        )
    codes = [axis_codes(Geometry.from_form(form, forms).to(min(len(shape), 3))) for form in used]
    if codes[0] is None or codes[-1] is None:
        raise InputError(unknown_sentence(path))
    if codes[0] != codes[-1]:
        raise InputError(
            f"{path} has two orientations: by its qform it is {codes[0]}, by its sform {codes[-1]}; correct "
            "the one that is wrong."
        )
    return codes[0]


def of_as_many_axes(code: str, own: str) -> str:
    """What ``code`` is for a file whose code is ``own``: a slice takes the two letters of its plane.

    >>> of_as_many_axes("ASR", "LP")
    'AR'
    """
    return "".join(letter for letter in code if len(own) == 3 or letter in "LRPA")


def turn(path: Path, code: str) -> Callable[[Path], None]:
    """Read a volume and turn it to ``code``, a slice in its plane; returns what writes it to a file of its ending.

    Raises:
        InputError: as `code_of`.
        RuntimeError, ValueError, or what the libraries raise: where the file is damaged.
    """
    own = code_of(path)
    ornt = _TURNS.ornt_transform(_TURNS.axcodes2ornt(own), _TURNS.axcodes2ornt(of_as_many_axes(code, own)))
    turn_file = _turn_nifti if ending(path) in NIFTI else _turn_with_itk
    return turn_file(path, ornt)


def _turn_nifti(path: Path, ornt: NDArray[np.float64]) -> Callable[[Path], None]:
    image: Any = nibabel.load(path)
    values = _TURNS.apply_orientation(image.dataobj.get_unscaled(), ornt)
    header = image.header.copy()
    n = len(ornt)
    header.set_dim_info(*(None if axis is None or axis >= n else int(ornt[axis, 0]) for axis in header.get_dim_info()))
    to_old = np.eye(4)
    kept = [*range(n), 3]
    to_old[np.ix_(kept, kept)] = _TURNS.inv_ornt_aff(ornt, image.shape[:n])
    _, forms = read_forms(path)
    turned = type(image)(values, None, header)
    turned.header.set_slope_inter(image.dataobj.slope, image.dataobj.inter)  # so that stored values stay what they are
    turned.header.set_qform(np.array(forms.qform) @ to_old, forms.qform_code)
    turned.header.set_sform(np.array(forms.sform) @ to_old, forms.sform_code)
    return lambda target: nibabel.save(turned, target)


def _turn_with_itk(path: Path, ornt: NDArray[np.float64]) -> Callable[[Path], None]:
    check_complete(path)
    image = _ITK.ReadImage(str(path))
    size, n = image.GetSize(), image.GetDimension()
    order = [*np.argsort(ornt[:, 0]).tolist(), *range(len(ornt), n)]
    flipped = [axis for axis, (_, sign) in enumerate(ornt.tolist()) if sign < 0]
    values = _ITK.GetArrayFromImage(image)  # [..., z, y, x], and the values of one voxel
    values = np.flip(values, [n - 1 - axis for axis in flipped])
    values = values.transpose(*(n - 1 - axis for axis in reversed(order)), *range(n, values.ndim))
    turned = _ITK.GetImageFromArray(np.ascontiguousarray(values), isVector=image.GetNumberOfComponentsPerPixel() > 1)
    directions = np.reshape(image.GetDirection(), (n, n)) * [-1.0 if axis in flipped else 1.0 for axis in range(n)]
    first = [size[axis] - 1 if axis in flipped else 0 for axis in range(n)]
    turned.SetDirection(directions[:, order].ravel().tolist())
    turned.SetSpacing([image.GetSpacing()[axis] for axis in order])
    turned.SetOrigin(image.TransformIndexToPhysicalPoint(first))
    return lambda target: _ITK.WriteImage(turned, str(target), useCompression=True)
