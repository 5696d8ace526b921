"""Follow playing cards through a video: `python track_cards.py VIDEO [WEIGHTS]`, `--help`.

norfair follows (`pip install 'yolor-cfg[track]'`); the embeddings of our network tell it which card comes
back after it was gone. Without WEIGHTS a small network is trained on drawn cards first, which takes about
three minutes. The tracks are written as in the MOT challenge, and `yolor test --tracks` scores them.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import norfair
import numpy as np

from yolor_cfg import Detector

SIZE, CARD = (120, 160), (5, 7)  # height and width of the drawn images; sides of a card
IMAGES, EPOCHS = 600, 12
RANKS, SUITS, COURT = 10, 4, 8
ANCHORS = "36,36, 48,48, 58,58, 68,68, 80,80, 100,100"


def draw_card(identity: int, height: int) -> np.ndarray:
    """The face of a card [height, width, 3]: as many pips as its rank, of the shape and colour of its suit,
    or for the last ranks a picture between two pips."""
    suit, rank = divmod(identity % (RANKS * SUITS), RANKS)
    width = height * CARD[0] // CARD[1]
    face = np.full((height, width, 3), 235, np.uint8)
    colour = ((200, 30, 40), (200, 30, 40), (25, 25, 30), (25, 25, 30))[suit]
    if rank >= COURT:
        picture = np.random.default_rng(identity).integers(0, 255, (7, 5, 3)).astype(np.uint8)
        shown = face[height // 7 : -(height // 7), width // 6 : -(width // 6)]
        shown[:] = cv2.resize(picture, shown.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        for x, y in ((width // 7, height // 9), (width - width // 7, height - height // 9)):
            draw_pip(face, (x, y), max(3, height // 14), suit=suit, colour=colour)
        return face
    columns = 1 if rank < 3 else 2
    for number in range(rank + 1):
        row, column = divmod(number, columns)
        x = int((column + 1) * width / (columns + 1))
        y = int((row + 0.5) * height / -(-(rank + 1) // columns))
        draw_pip(face, (x, y), max(3, height // 11), suit=suit, colour=colour)
    return face


def draw_pip(face: np.ndarray, at: tuple[int, int], radius: int, *, suit: int, colour: Any) -> None:
    """One pip: a diamond, a heart as a triangle, a disc, or a square."""
    corners = {0: ((0, -1.3), (0.9, 0), (0, 1.3), (-0.9, 0)), 1: ((-1, -0.8), (1, -0.8), (0, 1.2))}
    corners[3] = ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9))
    if suit == 2:
        cv2.circle(face, at, radius, colour, -1, cv2.LINE_AA)
        return
    points = np.array([(at[0] + x * radius, at[1] + y * radius) for x, y in corners[suit]], np.int32)
    cv2.fillPoly(face, [points], colour, cv2.LINE_AA)


def draw_table(rng: np.random.Generator) -> np.ndarray:
    """A rough brown surface, sometimes with a coloured box on it."""
    height, width = SIZE
    base = np.array([130, 105, 80]) * rng.uniform(0.5, 1.2)
    grain = cv2.resize(rng.normal(0, 28, (height // 2, width // 2)).astype(np.float32), (width, height))
    table = np.clip(base + grain[..., None], 0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 4)):
        x, y, w, h = (int(part) for part in rng.uniform((0, 0, 20, 20), (width, height, 90, 90)))
        shade = tuple(int(part) for part in rng.integers(0, 230, 3))
        box = cv2.boxPoints(((x, y), (w, h), float(rng.uniform(0, 180)))).astype(np.int32)
        cv2.fillPoly(table, [box], shade)
    return table


def lay_card(table: np.ndarray, rng: np.random.Generator, identity: int) -> tuple[np.ndarray, list[float]]:
    """The table with a card on it, turned by any angle, and its box: centre and size as fractions."""
    height, width = SIZE
    face = draw_card(identity, int(rng.uniform(0.35, 0.9) * height))
    h, w = face.shape[:2]
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), float(rng.uniform(0, 360)), 1)
    turn[:, 2] += rng.uniform((0.1 * width, 0.1 * height), (0.9 * width, 0.9 * height)) - (w / 2, h / 2)
    cover = cv2.warpAffine(np.full((h, w), 255, np.uint8), turn, (width, height))
    card = cv2.warpAffine(face, turn, (width, height), flags=cv2.INTER_AREA)
    table = np.where(cover[..., None] > 127, card, table)
    left, top, w, h = cv2.boundingRect((cover > 127).astype(np.uint8))
    return table, [(left + w / 2) / width, (top + h / 2) / height, w / width, h / height]


def draw_cards(folder: Path, count: int) -> Path:
    """A data set of cards, one an image, labelled with their identities; its .data file."""
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        identity = int(rng.integers(RANKS * SUITS))
        image, box = lay_card(draw_table(rng), rng, identity)
        line = f"0 {identity} " + " ".join(f"{side:.6f}" for side in box)
        image = np.clip(image * rng.uniform(0.6, 1.1), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"images/{number:04d}.png"), image[..., ::-1])
        (folder / f"labels/{number:04d}.txt").write_text(line + "\n")
    (folder / "cards.names").write_text("card\n")
    (folder / "cards.data").write_text("classes=1\ntrain=images\nnames=cards.names\n")
    return folder / "cards.data"


def write_cfg(folder: Path) -> Path:
    """The network of embedding.cfg for cards: one class, larger anchors, the shape of a video."""
    text = Path(__file__).with_name("embedding.cfg").read_text()
    anchors = next(line for line in text.splitlines() if line.startswith("anchors="))
    text = text.replace(anchors, f"anchors={ANCHORS}").replace("classes=6", "classes=1")
    text = text.replace("filters=65", "filters=50").replace("width=96", f"width={SIZE[1]}")
    (folder / "cards.cfg").write_text(text.replace("height=96", f"height={SIZE[0] // 8 * 8}"))
    return folder / "cards.cfg"


def train_network() -> str:
    """The weights of a network that was trained on drawn cards."""
    folder = Path(tempfile.mkdtemp())
    data = draw_cards(folder, IMAGES)
    command = [sys.executable, "-m", "yolor_cfg", "train", str(write_cfg(folder)), "--data", str(data)]
    command += [
        "--no-val",
        "--hyp",
        "small",
        "--optimizer",
        "adamw",
        "--batch-size",
        "8",
        "--update-batch",
        "8",
    ]
    command += ["--epochs", str(EPOCHS), "--project", str(folder)]
    subprocess.run(command, check=True)
    return str(folder / "exp/weights/best.pt")


def make_tracker(*, alike: float = 0.3, has_memory: bool = True) -> norfair.Tracker:
    """norfair's tracker: boxes by their overlap, and what was lost by embeddings that are `alike`."""
    memory = {
        "reid_distance_function": compare_tracks,
        "reid_distance_threshold": alike,
        "reid_hit_counter_max": 60,
    }
    return norfair.Tracker(
        "iou",
        distance_threshold=0.7,
        hit_counter_max=4,
        initialization_delay=2,
        past_detections_length=8,
        **(memory if has_memory else {}),
    )


def compare_tracks(new: Any, lost: Any) -> float:
    """How far the embeddings of two tracks are apart: the cosine distance of the most similar ones."""
    ours, theirs = (
        np.stack([one.embedding for one in (*track.past_detections, track.last_detection)])
        for track in (new, lost)
    )
    return float(1 - (ours @ theirs.T).max())


def follow(found: Iterable[Any], tracker: norfair.Tracker) -> Iterator[tuple[float, ...]]:
    """Of the detections of frame after frame the lines of tracks: frame, id, left, top, width, height, and
    the score."""
    for number, one in enumerate(found, 1):
        rows = zip(one.boxes_xyxy, one.scores, one.classes, one.embeddings, strict=True)
        seen = [
            norfair.Detection(
                np.asarray(box, np.float64).reshape(2, 2),
                np.full(2, float(score)),
                label=int(label),
                embedding=np.asarray(vector),
            )
            for box, score, label, vector in rows
        ]
        for track in tracker.update(seen):
            mine = track.last_detection
            if any(mine is one for one in seen):
                (left, top), (right, bottom) = mine.points.tolist()
                yield number, track.id, left, top, right - left, bottom - top, float(mine.scores[0])


def read_frames(path: str) -> Iterator[np.ndarray]:
    """The frames of a video, RGB."""
    video = cv2.VideoCapture(path)
    while (got := video.read())[0]:
        yield got[1][..., ::-1].copy()


def main() -> None:
    """Follow the cards of a video, write their tracks, and say how many there are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("weights", nargs="?")
    parser.add_argument("--out", default="tracks.txt")
    parser.add_argument("--alike", type=float, default=0.3, help="largest cosine distance of one card")
    given = parser.parse_args()
    detector = Detector(given.weights or train_network(), conf=0.3, iou=0.3, max_det=20)
    lines = list(
        follow((detector(frame) for frame in read_frames(given.video)), make_tracker(alike=given.alike))
    )
    Path(given.out).write_text(
        "".join(",".join(f"{part:g}" for part in line) + ",-1,-1,-1\n" for line in lines)
    )
    for identity in sorted({line[1] for line in lines}):
        frames = [int(line[0]) for line in lines if line[1] == identity]
        print(f"card {identity}: frames {frames[0]} to {frames[-1]}, seen in {len(frames)}")
    print(f"{given.out}: {len(lines)} boxes")


if __name__ == "__main__":
    main()
