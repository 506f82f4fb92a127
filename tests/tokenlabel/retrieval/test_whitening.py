"""Is whitening scikit-learn's PCA; and what cannot be fitted?"""

from __future__ import annotations

import pytest
import torch
from sklearn.decomposition import PCA
from torch.nn.functional import normalize

from tokenlabel import LabelError
from tokenlabel.retrieval import Whitening


@pytest.mark.parametrize("whiten", [True, False])
def test_it_is_scikit_learns_pca_but_for_signs(whiten: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    z = normalize(torch.randn(50, 6, generator=generator) * torch.arange(1.0, 7), dim=1)
    other = normalize(torch.randn(9, 6, generator=generator), dim=1)
    reference = PCA(3, whiten=whiten).fit(z.double().numpy())
    expected = normalize(torch.from_numpy(reference.transform(other.double().numpy())), dim=1)
    found = Whitening.fit(z, 3, whiten=whiten)(other)
    assert torch.allclose(found.double().abs(), expected.abs(), atol=1e-5)
    assert torch.allclose(found @ found.T, (expected @ expected.T).float(), atol=1e-5)


def test_it_is_saved_as_weights() -> None:
    z = normalize(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    made, other = Whitening.fit(z, 2), Whitening.fit(z.flip(1), 2)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(z), made(z))
    assert repr(made) == "Whitening(4 -> 2)"


def test_more_directions_than_there_are_is_refused() -> None:
    z = torch.zeros(10, 5)
    z[:, :2] = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(LabelError, match="10 descriptors of width 5 vary in 2 directions, of which 3 cannot be taken"):
        Whitening.fit(z, 3)
    with pytest.raises(LabelError, match="1 descriptors of width 5 vary in 0 directions"):
        Whitening.fit(z[:1], 1)
