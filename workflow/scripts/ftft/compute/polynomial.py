"""What a pass takes, as a polynomial in batch size B and length L: of operations and of memory.

It is linear in B and quadratic in L, with terms without B for what a pass has once: projections of position embeddings
(DeBERTa), tables of positions, bf16 copies of the weights. Six shapes determine its six coefficients.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def terms(batch: int, length: int) -> NDArray[np.int64]:
    """The (6,) powers of a shape: 1, L, L², B, BL, BL²."""
    powers = np.array([1, length, length**2])
    return np.concatenate([powers, batch * powers])


def fitted(shapes: Sequence[tuple[int, int]], counts: ArrayLike) -> np.ndarray:
    """The (6,) or (6, K) coefficients that give what was counted, (6,) or (6, K), for six shapes."""
    matrix = np.array([terms(*shape) for shape in shapes], dtype=np.float64)
    return np.linalg.solve(matrix, np.array(counts, dtype=np.float64))
