"""VQ regulariser: the quantiser at the decoder's input (paper section 3.1, from vector-quantize-pytorch)."""

import torch
from torch import Tensor, nn

COMMITMENT = 0.25
DECAY = 0.99
DEAD_BELOW = 2.0  # a code that stands for fewer codes a batch, on average, is replaced by one of the batch


class Quantizer(nn.Module):
    """Nearest of K codebook vectors, learned by moving averages."""

    def __init__(self, latent_channels: int, codebook_size: int) -> None:
        from vector_quantize_pytorch import VectorQuantize  # its import takes seconds, which only VQ should pay

        super().__init__()
        self.codebook_size = codebook_size
        self.quantize = VectorQuantize(
            dim=latent_channels,
            codebook_size=codebook_size,
            decay=DECAY,
            commitment_weight=COMMITMENT,
            kmeans_init=True,
            kmeans_iters=10,
            threshold_ema_dead_code=DEAD_BELOW,
            rotation_trick=False,
        )

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One flat list of codes, each code once: (n, z) float32.

        Returns:
            Quantised codes (n, z) with straight-through gradients, the commitment loss, and `perplexity` (1..K) and
            `dead_codes` (share of the codebook unused by this list).
        """
        quantized, index, loss = self.quantize(codes[None])
        used = torch.bincount(index.flatten(), minlength=self.codebook_size).double()
        p = used / used.sum()
        numbers = {"perplexity": torch.exp(-torch.xlogy(p, p).sum()), "dead_codes": (used == 0).double().mean()}
        return quantized[0], loss.squeeze(), numbers
