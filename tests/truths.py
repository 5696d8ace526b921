"""Small truths for tests of the scores."""

from collections.abc import Sequence

import numpy as np

from yolor_cfg.evaluate.ground_truth import GroundTruth


def truth(
    boxes: Sequence[tuple[float, ...]], *, images: int = 1, classes: int = 2, size: int = 100
) -> GroundTruth:
    """boxes: image, class, left, top, width, height, then 1 for a crowd, 2 for a difficult object."""
    rows = np.array([(*box, 0)[:7] for box in boxes], dtype=float).reshape(-1, 7)
    return GroundTruth(
        tuple("abcdefgh"[:classes]),
        tuple(range(1, classes + 1)),
        tuple(range(10, 10 + images)),
        tuple(f"pictures/p{i}.jpg" for i in range(images)),
        np.full((images, 2), size),
        rows[:, 0].astype(int),
        rows[:, 2:6],
        rows[:, 1].astype(int),
        rows[:, 4] * rows[:, 5],
        rows[:, 6] > 0,
        rows[:, 6] == 2,
    )


def found(rows: Sequence[tuple[float, ...]]) -> np.ndarray:
    """Detections from image, class, score, left, top, width, height."""
    return np.array([(row[0], *row[3:7], row[2], row[1]) for row in rows], dtype=float).reshape(-1, 7)


def random_case(seed: int, *, images: int = 6, classes: int = 3) -> tuple[GroundTruth, np.ndarray]:
    """Boxes and detections around them, some doubled, some of the wrong class, with equal scores."""
    rng = np.random.default_rng(seed)
    boxes = [
        (rng.integers(images), rng.integers(classes), *rng.uniform(0, 50, 2), *rng.uniform(8, 40, 2))
        for _ in range(25)
    ]
    rows = []
    for box in boxes * 2:
        label = box[1] if rng.random() < 0.8 else rng.integers(classes)
        rows.append((box[0], label, rng.integers(1, 20) / 20, *(np.array(box[2:]) + rng.normal(0, 3, 4))))
    return truth(boxes, images=images, classes=classes), found(rows)
