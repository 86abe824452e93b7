"""Root mean square norm (arXiv 1910.07467), in plain torch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """[…, H] from x […, H] and weight [H]."""
    return F.rms_norm(x, weight.shape, weight, eps)
