"""Each code lies at rest once; what is read is what dense moments of the posterior would be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2it.data.latents import Latents, LatentWriter, code_moments
from d2it.dvae.model import DynamicVAE
from d2it.grain.codes import copies_per_side, copy_codes
from d2it.size import Size

CPU = torch.device("cpu")


def written(folder: Path, mean: Tensor, std: Tensor, maps: Tensor, *, copies: list[int], cut: int = 4) -> Latents:
    """Moments (N, z, h, w) and maps (N, h/S, w/S), `cut` rows at a time; row r has label 10 r."""
    N, z, _, _ = mean.shape
    with LatentWriter(folder, rows=N, latent_channels=z, region_grid=Size.of(maps.shape[1:]), copies=copies) as writer:
        for start in range(0, N, cut):
            rows = slice(start, start + cut)
            moments = code_moments(mean[rows], std[rows], maps[rows], copies)
            writer.append(moments, maps[rows].numpy(), 10 * np.arange(N)[rows])
    return Latents(folder)


def require_as_dense(latents: Latents, dense: tuple[Tensor, Tensor, Tensor], rows: list[int]) -> None:
    """Whether the rows are to the bit the moments (N, z, h, w) rounded to float16."""
    mean, std, maps = dense
    batch = latents.take(np.array(rows), CPU)
    moments = torch.stack([mean, std], 1)[rows].half().float()  # (B, 2, z, h, w)
    for part, expected in zip(batch, (moments[:, 0], moments[:, 1], maps[rows], 10 * torch.tensor(rows)), strict=True):
        assert torch.equal(part, expected)
        assert part.dtype == expected.dtype


@settings(max_examples=30, deadline=None)
@given(
    grains=st.integers(1, 3), size=st.builds(Size, st.integers(1, 4), st.integers(1, 4)),
    channels=st.integers(1, 5), rows=st.integers(1, 7), cut=st.integers(1, 7), seed=st.integers(0, 999),
)  # fmt: skip
def test_any_maps_of_any_number_of_grains_come_back_as_dense_moments(
    tmp_path_factory: pytest.TempPathFactory, *, grains: int, size: Size, channels: int, rows: int, cut: int, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    copies = copies_per_side([8 * 2**i for i in range(grains)])
    maps = torch.randint(0, grains, (rows, *size), generator=g, dtype=torch.uint8)
    grid = torch.randn(2, rows, channels, *size.times(copies[0]), generator=g)
    mean, std = (copy_codes(x, maps, copies) for x in grid)
    latents = written(tmp_path_factory.mktemp("latents"), mean, std, maps, copies=copies, cut=cut)
    assert (latents.rows, latents.latent_channels) == (rows, channels)
    assert (latents.latent_grid, latents.region_grid) == (size.times(copies[0]), size)
    assert latents.copies == copies
    require_as_dense(latents, (mean, std, maps), torch.randint(0, rows, (5,), generator=g).tolist())


@pytest.mark.parametrize("factors", [[8], [8, 16], [8, 16, 32]])
@pytest.mark.parametrize("regularizer", ["kl", "vq"])
@torch.no_grad()
def test_what_the_dvae_encodes_comes_back(tmp_path: Path, factors: list[int], regularizer: str) -> None:
    torch.manual_seed(0)
    model = DynamicVAE(
        channels=8, multipliers=[1, 2, 2], res_blocks=1, patch=2, regularizer=regularizer, codebook_size=16,
        factors=factors,
    )  # fmt: skip
    maps = torch.randint(0, len(factors), (6, 64 // factors[-1], 64 // factors[-1]), dtype=torch.uint8)
    posterior = model.encode(torch.rand(6, 3, 64, 64) * 2 - 1, maps)
    latents = written(tmp_path, posterior.mean, posterior.std, maps, copies=model.copies)
    require_as_dense(latents, (posterior.mean, posterior.std, maps), [5, 0, 3])
    mean, dense = latents.take(np.array([5, 0, 3]), CPU).mean, torch.stack([posterior.mean, posterior.std], 1)
    assert mean.stride() == dense[:, 0].stride(), "kernels may sum other layouts in another order"


def test_a_row_takes_as_many_bytes_as_it_has_codes(tmp_path: Path) -> None:
    maps = torch.zeros(2, 4, 4, dtype=torch.uint8)
    maps[1, :, :2] = 1  # half fine
    moments = torch.zeros(2, 4, 8, 8)
    written(tmp_path, moments, moments, maps, copies=[2, 1])
    stored = np.load(tmp_path / "moments-00000.npy", allow_pickle=False)
    assert stored.shape == (16 + 8 * 4 + 8, 2, 4)
    assert stored.dtype == np.float16
    assert np.load(tmp_path / "moments_starts-00000.npy", allow_pickle=False).tolist() == [0, 16, 56]


def test_moments_of_other_codes_than_the_maps_ask_for_are_refused(tmp_path: Path) -> None:
    maps = np.zeros((2, 4, 4), np.uint8)
    writer = LatentWriter(tmp_path, rows=2, latent_channels=1, region_grid=Size.of(4), copies=[2, 1])
    with pytest.raises(ValueError, match="31 items, lengths 32"):
        writer.append(np.zeros((31, 2, 1), np.float16), maps, np.zeros(2, np.int64))
