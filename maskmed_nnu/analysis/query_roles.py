"""What the queries of MaskMed do in one patch: their masks, their classes, and which of them answers for which class.

The score of a class is the sum over the queries of class probability × mask (`networks.layers.maskmed.semantic`), so
that each query's part in it can be told. "MaskMed" (arXiv 2511.15603) shows class and mask embeddings in its figures 3
to 5; how similarity was measured there is not published.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskmed_nnu.analysis.hooks import watch
from maskmed_nnu.analysis.patches import Patch
from maskmed_nnu.networks.maskmed import VOXELS_PER_CHUNK, MaskMed


class QueryRoles(NamedTuple):
    """``Q`` queries, ``K`` classes of the network; ``spatial`` is the image within the patch."""

    class_embeddings: NDArray[np.float32]
    """``[Q, K + 1]`` class logits less their mean, which a softmax does not see; "no object" is the last"""
    mask_embeddings: NDArray[np.float32]
    """``[Q, C + 1]``, the last number being a bias"""
    class_probabilities: NDArray[np.float32]
    """``[Q, K + 1]``"""
    masks: NDArray[np.float32]
    """``[Q, *spatial]`` probabilities"""

    def contribution(self, query: int) -> NDArray[np.float32]:
        """What one query adds to the classes' scores: ``[K, *spatial]``."""
        of_class = self.class_probabilities[query, :-1].reshape(-1, *[1] * (self.masks.ndim - 1))
        added: NDArray[np.float32] = of_class * self.masks[query]
        return added

    def scores(self) -> NDArray[np.float32]:
        """The classes' scores ``[K, *spatial]``, the sum of all contributions."""
        return np.tensordot(self.class_probabilities[:, :-1], self.masks, (0, 0))

    def found(self, regions: bool) -> NDArray[np.bool_]:
        """The voxels of each class, ``[K, *spatial]``: those where its score is the highest, of regions above 0.5."""
        scores = self.scores()
        if regions:
            return scores > 0.5
        found: NDArray[np.bool_] = scores.argmax(0) == np.arange(len(scores)).reshape(-1, *[1] * (scores.ndim - 1))
        return found

    def shares(self, found: NDArray[np.bool_]) -> NDArray[np.float64]:
        """``[Q, K]``: the share of each class's voxels (``found [K, *spatial]``) where no query adds more to its score.

        Over the queries they sum to one; NaN for a class without a voxel.
        """
        queries, classes = len(self.masks), len(found)
        shares = np.full((queries, classes), np.nan)
        for number, voxels in enumerate(found):
            if voxels.any():
                added = self.class_probabilities[:, number, None] * self.masks[:, voxels]
                shares[:, number] = np.bincount(added.argmax(0), minlength=queries) / voxels.sum()
        return shares


def query_roles(network: MaskMed, patch: Patch) -> QueryRoles:
    """Queries of ``network``, which is in evaluation mode, for ``patch``."""
    kept: list[Tensor] = []

    def keep(inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        kept.extend((output[0][-1, 0], output[1][-1], inputs[1]))

    watch(network, {network.head: keep}, patch.data)
    classes, embeddings, features = kept
    with torch.inference_mode():
        parts = [
            network.mask_head.dense(embeddings[None], part)[0, 0].float().sigmoid().cpu()
            for part in torch.split(features.flatten(2), VOXELS_PER_CHUNK, 2)
        ]
        masks = torch.unflatten(torch.cat(parts, -1), -1, patch.data.shape[1:])
        logits = classes.float()
        return QueryRoles(
            (logits - logits.mean(-1, keepdim=True)).cpu().numpy(),
            embeddings[0].float().cpu().numpy(),
            logits.softmax(-1).cpu().numpy(),
            np.ascontiguousarray(patch.crop(masks.numpy())),
        )


def similarity(embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Cosines ``[Q, Q]`` between the rows of ``embeddings [Q, E]``."""
    from sklearn.metrics.pairwise import cosine_similarity

    cosines: NDArray[np.float64] = cosine_similarity(embeddings.astype(np.float64))
    return cosines


def principal_components(embeddings: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``embeddings [Q, E]``, made as long as each other, in the plane of their largest variance: ``[Q, 2]``, and the
    share of the variance along both axes.

    As few as queries are, t-SNE would place them by chance.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    directions = normalize(embeddings.astype(np.float64))
    number = min(2, *directions.shape)
    pca = PCA(number, svd_solver="full")
    places = pca.fit_transform(directions) if len(directions) > 1 else np.zeros((1, number))
    shares = np.nan_to_num(getattr(pca, "explained_variance_ratio_", np.zeros(number)))
    missing = 2 - number
    return np.pad(places, ((0, 0), (0, missing))), np.pad(shares, (0, missing))
