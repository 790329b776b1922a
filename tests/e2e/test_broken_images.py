"""Images broken in every way, through both commands that predict; `broken_images` does it with hundreds of them."""

from __future__ import annotations

import pytest

from tests.e2e.broken_images import BROKEN, ENDINGS, attacks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("network", ENDINGS)
def test_broken_images_are_named_and_the_others_predicted(workspace, network):
    attacks(workspace, network, number=len(BROKEN) + 5, broken=len(BROKEN) + 1, new=False)
