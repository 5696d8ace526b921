"""Images without labels that a large network alone teaches: what they teach, their turn, what is told."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import training
from dist_runs import run_in
from joint_runs import LARGE, joint_options, more_images, network_of, save_large

from yolor_cfg.data.types import DataPart
from yolor_cfg.errors import CfgError, DataError
from yolor_cfg.train.joint import JointTeacher, joint_loss, pair_heads, watch_features
from yolor_cfg.train.logger import describe_course
from yolor_cfg.train.loss import ImageSources, Lessons, LossRules, detection_loss, loss_by_source
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.setup import prepare_job

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")

NAMES = tuple("012345")
LABELS_BEHIND = "[route]\nlayers=-2\n[convolutional]\nfilters=6\nsize=1\nactivation=linear\n[avgpool]\n[{}]\n"


def parts_of(*counts: int) -> list[DataPart]:
    """One labelled data set, and others without labels."""
    firsts = [sum(counts[:number]) for number in range(len(counts))]
    return [
        DataPart(str(k), "", "", first, count, NAMES, tuple(range(6)) if not k else (), is_labeled=not k)
        for k, (first, count) in enumerate(zip(firsts, counts, strict=True))
    ]


def gradients(loss: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
    found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


@pytest.mark.parametrize("rows", [[0, 1, 0, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
def test_labels_teach_as_if_images_without_labels_were_not_there(rows: list[int]):
    small, large = (network_of(text, k).double() for k, text in enumerate((training.yolor_text(), LARGE)))
    teacher = JointTeacher(large, pair_heads(small.graph, large.graph), "none")
    images = torch.rand(5, 3, 64, 64, dtype=torch.float64)
    labeled = [i for i, row in enumerate(rows) if row == 0]
    # a box in every image, also where none may be read
    boxes = [[i, i % 6, 0.3 + 0.1 * i, 0.5, 0.2, 0.3] for i in range(5)]
    rules = LossRules()
    with watch_features(teacher, small):
        raws = small(images)
        joint = joint_loss(teacher, small, raws, images=images, rules=rules).predictions
    sources = ImageSources(torch.tensor(rows), parts_of(2, 3))
    mixed = loss_by_source(raws, Lessons(torch.tensor(boxes)), small, rules=rules, sources=sources)
    found = gradients(mixed.total + joint, small)
    wanted = gradients(
        joint_loss(teacher, small, small(images), images=images, rules=rules).predictions, small
    )
    if labeled:
        targets = torch.tensor([[k, *boxes[i][1:]] for k, i in enumerate(labeled)])
        alone = detection_loss(small(images[labeled]), targets, small, rules=rules)
        wanted = wanted + gradients(alone.total, small)
        torch.testing.assert_close(mixed.total, alone.total, rtol=1e-12, atol=0)
    assert wanted.abs().max() > 1e-3
    assert (found - wanted).abs().max() < 1e-12 * wanted.abs().max()
    assert [float(one.images) for one in mixed.sources] == [len(labeled), 5 - len(labeled)]
    assert not any(part.any() for part in mixed.sources[1].parts)


@pytest.mark.parametrize("kind", ["logistic", "softmax", ""])
def test_no_kind_of_label_teaches_by_images_without_labels(kind: str):
    """Boxes with identities, or with classes of whole images."""
    behind = LABELS_BEHIND.format(kind) if kind else "embedding=4\nidentities=3\nid_loss=triplet\n"
    text = training.yolor_text() if kind else training.yolor_text().replace("=33\n", "=37\n")
    small = network_of((text if kind else text.replace("[yolo]", "[jde]")) + behind)
    raws = [raw.detach().requires_grad_() for raw in small(torch.rand(2, 3, 64, 64))]
    targets = torch.tensor([[i, 1, x, 0.5, 0.3, 0.4] for i in range(2) for x in (0.3, 0.7)])
    lessons = Lessons(
        targets, torch.eye(6)[:2] if kind else None, None if kind else torch.tensor([0, 1, 0, 1])
    )
    sources = ImageSources(torch.tensor([0, 1]), parts_of(1, 1))
    found = loss_by_source(raws, lessons, small, rules=LossRules(seen=10**6), sources=sources)
    found.total.backward()
    assert (found.labels if kind else found.identity) > 0
    assert all(raw.grad[0].abs().max() > 0 and raw.grad[1].abs().max() == 0 for raw in raws)


@pytest.fixture
def said(tmp_path: Path) -> TrainOptions:
    """A run on 8 labelled images, taught by a large network also on 12 more."""
    more = more_images(tmp_path)
    return joint_options(tmp_path, count=10, joint=save_large(tmp_path), joint_images=more)


def column(folder: Path, name: str) -> list[float]:
    with (folder / "results.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def test_results_tell_how_many_images_of_each_and_their_own_losses(said: TrainOptions, tmp_path: Path):
    done = training.run(said._replace(val_period=1), tmp_path / "runs")
    assert describe_course(done.job).startswith("2 epochs of 20 images, 12 of them without labels: 5 batches")
    assert column(done.folder, "shapes.images") == [8, 8]
    assert column(done.folder, "images.images") == [12, 12]
    text = (done.folder / "results.csv").read_text().splitlines()[0]
    assert "images.loss" not in text and "shapes.loss" in text and ",AP," in text
    parts = [column(done.folder, name) for name in ("box", "objectness", "classes", "joint", "loss")]
    for *each, total in zip(*parts, strict=True):
        assert sum(each) == pytest.approx(total, rel=1e-5)
    for whole, own in zip(
        column(done.folder, "objectness"), column(done.folder, "shapes.objectness"), strict=True
    ):
        assert whole == pytest.approx(own * 8 / 20, rel=1e-5)


def test_labels_beside_them_change_nothing(said: TrainOptions, tmp_path: Path):
    """A whole data set, its images alone and a list of them teach the same."""
    folder = tmp_path / "more"
    bare = tmp_path / "bare"
    shutil.copytree(folder / "images", bare)
    listed = tmp_path / "listed.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted(bare.iterdir())))
    states, notes = [], []
    for number, given in enumerate((folder, bare, listed)):
        own = said._replace(joint_images=str(given), epochs=1)
        done = training.run(own, tmp_path / "runs", f"exp{number}")
        told = [problem.reason for problem in done.job.dataset.problems]
        states.append(done.folder / "weights/last.pt")
        notes.append([text for text in told if "not read" in text])
    assert training.different(states[0], states[1]) == training.different(states[1], states[2]) == []
    assert [len(one) for one in notes] == [1, 0, 0]
    assert notes[0][0].endswith("(" + str(folder / "labels/shape000000.txt") + ")")


@pytest.mark.parametrize(
    "more",
    [
        {"multi_scale": True, "data_weights": (1.0, 3.0)},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"rect": True}, marks=pytest.mark.slow),
    ],
)
def test_a_run_resumes_to_the_bit(said: TrainOptions, tmp_path: Path, monkeypatch, more: dict):
    whole = training.check_resume(said._replace(**more), tmp_path / "runs", monkeypatch, stop=2)
    if "data_weights" in more:
        assert column(whole.folder, "images.images") == [15, 15]


@pytest.mark.slow
def test_two_processes_share_the_images(said: TrainOptions, tmp_path: Path):
    """Images are counted over both, and what labels teach is nearly what one process learns."""
    said = said._replace(sync_bn=True)
    whole = training.run(said, tmp_path / "runs", "one")
    two = run_in(2, said, tmp_path)
    for name in ("shapes.images", "images.images"):
        assert column(two, name) == column(whole.folder, name)
    first = json.loads((two / "losses.json").read_text())[0]
    assert all(value > 0 for value in first[1:4]) and first[6] > 0
    assert sum(first[1:]) == pytest.approx(first[0], rel=1e-5)
    wanted = column(whole.folder, "shapes.objectness")
    assert column(two, "shapes.objectness") == pytest.approx(wanted, rel=0.05)


def test_all_kinds_of_augmentation_are_those_of_labelled_images(said: TrainOptions):
    job = prepare_job(said)
    labeled, bare = job.phases[0].loader.transform.transforms
    assert type(labeled) is type(bare) and labeled.hyp == bare.hyp and labeled.tiles == bare.tiles


def test_a_folder_is_all_images_in_it_unless_something_divides_it(said: TrainOptions, tmp_path: Path):
    """Also one of Pascal VOC's of which a few are labelled."""
    folder = tmp_path / "voc"
    (folder / "Annotations").mkdir(parents=True)
    (folder / "Annotations/shape000000.xml").write_text("no XML")
    shutil.copytree(tmp_path / "more/images", folder / "JPEGImages/deep")
    shutil.copy(tmp_path / "more/images/shape000000.jpg", folder / "JPEGImages/shape000000.jpg")
    counts = []
    for place in (folder, folder / "JPEGImages", tmp_path / "shapes"):
        job = prepare_job(said._replace(joint_images=str(place)))
        counts.append(job.dataset.parts[1].images)
    assert counts == [13, 13, 8]


def refuse(said: TrainOptions, match: str, kind: type[Exception] = CfgError) -> None:
    with pytest.raises(kind, match=match):
        prepare_job(said)


def test_what_cannot_be_taught_is_refused_in_words(said: TrainOptions, tmp_path: Path):
    refuse(said._replace(joint=None), "there is no large network that teaches")
    refuse(said._replace(joint_images=(said.joint_images, str(tmp_path / "no"))), "no such file", DataError)
    (tmp_path / "empty").mkdir()
    refuse(said._replace(joint_images=str(tmp_path / "empty")), "no images found", DataError)
    refuse(said._replace(data_weights=(1.0,)), "a weight for each data set is wanted")
    prepare_job(said._replace(data_weights=(1.0, 0.0)))


def test_images_that_are_labelled_or_tested_too_are_told(said: TrainOptions, tmp_path: Path):
    given = str(tmp_path / "shapes/images")
    job = prepare_job(said._replace(joint_images=given))
    notes = [problem.reason for problem in job.dataset.problems]
    assert any("8 of 10 images" in note and "taught twice" in note for note in notes)
    assert any("2 of 10 images" in note and "not those of unseen" in note for note in notes)
    assert [part.name for part in job.dataset.parts] == ["shapes", "images"]
