"""VQ regulariser: the quantiser at the decoder's input (paper section 3.1, from vector-quantize-pytorch)."""

import torch
from torch import Tensor, nn

DECAY = 0.99
DEAD_BELOW = 2.0  # a vector that stands for fewer codes per step, on average, is replaced by a code of the step


class Quantizer(nn.Module):
    """Nearest of K codebook vectors, learned by moving averages.

    The codebook is frozen but in `learn`, which training calls once per step with the codes of the whole step: all its
    micro-batches meet one codebook, whose moving average does not know how many ranks there are.
    """

    def __init__(self, latent_channels: int, codebook_size: int) -> None:
        from vector_quantize_pytorch import VectorQuantize  # its import takes seconds, which only VQ should pay

        super().__init__()
        self.codebook_size = codebook_size
        self.quantize = VectorQuantize(
            dim=latent_channels,
            codebook_size=codebook_size,
            decay=DECAY,
            commitment_weight=0.0,  # model.commitment weighs codes image by image
            kmeans_init=True,
            kmeans_iters=10,
            threshold_ema_dead_code=DEAD_BELOW,
            rotation_trick=False,
            freeze_codebook=True,
            sync_codebook=False,  # ranks gather the codes instead, so that each learns all of them in one order
            sync_kmeans=False,
        )

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (n, z) float32, each code once, quantised, with straight-through gradients.

        A codebook that has learned nothing starts from this list, as in `learn`.
        """
        quantized: Tensor = self.quantize(codes[None])[0][0]
        return quantized

    @torch.no_grad()
    def learn(self, codes: Tensor, seed: int) -> dict[str, Tensor]:
        """Move the codebook once towards codes (n, z) float32, and replace dead vectors; in training mode.

        A codebook that has learned nothing starts from k-means of these codes. The same codes in the same order and the
        same seed give the same bytes.

        Returns:
            `perplexity` (1..K), and `dead_codes`, the share of the codebook that no code was nearest to.
        """
        assert self.training, "the library learns in training mode alone"
        torch.manual_seed(seed)  # the library draws from the global stream
        _, index, _ = self.quantize(codes[None], freeze_codebook=False)
        used = torch.bincount(index.flatten(), minlength=self.codebook_size).double()
        p = used / used.sum()
        return {"perplexity": torch.exp(-torch.xlogy(p, p).sum()), "dead_codes": (used == 0).double().mean()}
