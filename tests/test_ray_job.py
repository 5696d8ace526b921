"""Detection by Ray Data: what the class for `map_batches` returns, and that a lost actor loses nothing."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import training
from tiny_detector import Files, save_pictures, yolor

from yolor_cfg import Detector, load
from yolor_cfg.detect import ray_job
from yolor_cfg.detect.ray_job import BatchDetector, JobOptions
from yolor_cfg.rewrite.task_places import add_tasks_to_text
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.tasks import implicit_tensors

IMAGES = 24
BROKEN = 5


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path, ((50, 70 + number) for number in range(IMAGES)))
    (tmp_path / f"pictures/{BROKEN:02d}.png").write_bytes(b"no image")
    return tmp_path


def expected(detector: Detector) -> dict[str, Any]:
    """Rows by the name of the image, from the detector itself."""
    rows = {}
    for path in sorted(Path("pictures").iterdir()):
        found = detector(str(path), on_error="skip")
        height, width = found.image_size
        parts = (found.boxes_xyxy, found.scores, found.classes)
        rows[path.name] = (width, height, *(part.tolist() for part in parts))
    return rows


def check(rows: list[dict[str, Any]], detector: Detector) -> None:
    """Each image has one row, with what the detector finds in it."""
    names = [Path(row["path"]).name for row in rows]
    assert len(names) == len(set(names))
    keys = ("width", "height", "boxes", "scores", "classes")
    found = {name: tuple(row[key] for key in keys) for name, row in zip(names, rows, strict=True)}
    assert found == expected(detector)
    assert [row["error"] is not None for row in rows] == [name == f"{BROKEN:02d}.png" for name in names]


def read_rows(folder: str) -> list[dict[str, Any]]:
    import pyarrow.dataset

    return pyarrow.dataset.dataset(folder, format="parquet").to_table().to_pylist()


def test_a_table_of_paths_or_of_bytes_becomes_a_table_of_detections(tiny: Files, here: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow (the extra `ray`)")
    paths = [str(path) for path in sorted(Path("pictures").iterdir())]
    worker = BatchDetector(Detector(*tiny))
    by_path = worker(arrow.table({"path": paths}))
    check(by_path.to_pylist(), Detector(*tiny))
    data = [Path(path).read_bytes() for path in paths]
    assert worker(arrow.table({"path": paths, "bytes": data})).equals(by_path)
    nameless = worker(arrow.table({"bytes": data}))
    assert nameless.drop_columns("path").equals(by_path.drop_columns("path"))
    assert nameless.schema.equals(by_path.schema)


@pytest.mark.parametrize("missing", ["pyarrow", "ray", "pandas"])
def test_without_a_part_of_ray_the_extra_is_named(
    tiny: Files, here: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """`import ray` works without pandas, which `import ray.data` needs."""
    packages = {"pyarrow": "", "ray": "", "ray/data": "import pandas"}
    for name, text in packages.items():
        (here / "site" / name).mkdir(parents=True, exist_ok=True)
        (here / "site" / name / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(str(here / "site"))
    known = [name for name in sys.modules if name.partition(".")[0] in ("pyarrow", "ray")]
    for name in {*known, "pyarrow", "ray", "ray.data"}:
        monkeypatch.setitem(sys.modules, name, None)  # so that what is imported here is forgotten in the end
        del sys.modules[name]
    monkeypatch.setitem(sys.modules, missing, None)
    result = yolor("ray", *tiny, "pictures", "--out", "found")
    assert result.exit_code == 5 and "pip install 'yolor-cfg[ray]'" in result.stderr
    assert missing in result.stderr and not Path("found").exists()


@pytest.fixture(scope="module")
def ray() -> Any:
    """Ray on this machine, with more cores than it has: the tests are small."""
    ray_job.os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    module = pytest.importorskip("ray", reason="needs ray (the extra `ray`)")
    root = str(Path(__file__).resolve().parents[1])
    module.init(
        num_cpus=4,
        _node_ip_address="127.0.0.1",  # else it looks for a way to another machine
        include_dashboard=False,
        object_store_memory=100 << 20,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )
    yield module
    module.shutdown()


@pytest.mark.slow
def test_an_actor_that_is_killed_on_the_way_loses_nothing(tiny: Files, here: Path, ray: Any) -> None:
    flag = here / "killed"

    class Mortal(BatchDetector):
        def __call__(self, table: Any) -> Any:
            found = super().__call__(table)
            if any("11" in os.path.basename(path) for path in table.column("path").to_pylist()):
                with flag.open("a") as file:
                    file.write(f"{os.getpid()}\n")
                if len(flag.read_text().splitlines()) < 3:  # the first actor and the one in its place
                    os.kill(os.getpid(), signal.SIGKILL)
            return found

    dataset = ray_job.open_dataset(["pictures"], 2)
    job = JobOptions(actors=2, batch_size=1)
    rows = ray_job.detect_dataset(dataset, Detector(*tiny), job=job, worker=Mortal)
    out = ray_job.absolute_place("found")
    rows.write_parquet(out)
    assert len(set(flag.read_text().splitlines())) == 3
    assert ray_job.count_results(out, IMAGES) == {"images": IMAGES, "unreadable": 1}
    check(read_rows("found"), Detector(*tiny))


@pytest.mark.slow
def test_the_command_reads_parquet_and_writes_parquet(tiny: Files, here: Path, ray: Any) -> None:
    import pyarrow
    import pyarrow.parquet

    paths = [str(path.resolve()) for path in sorted(Path("pictures").iterdir())]
    pyarrow.parquet.write_table(
        pyarrow.table({"bytes": [Path(path).read_bytes() for path in paths], "path": paths, "x": paths}),
        "images.parquet",
    )
    result = yolor("ray", *tiny, "images.parquet", "--out", "found", "--batch-size", "1", "--json")
    assert result.exit_code == 0, result.stderr
    assert '"images": 24' in result.stdout
    check(read_rows("found"), Detector(*tiny))
    assert "exists already" in yolor("ray", *tiny, "images.parquet", "--out", "found").stderr
    pyarrow.parquet.write_table(pyarrow.table({"x": paths}), "other.parquet")
    result = yolor("ray", *tiny, "other.parquet", "--out", "more")
    assert result.exit_code == 3 and "no images in these tables" in result.stderr
    assert yolor("ray", *tiny, "other.parquet", "pictures", "--out", "more").exit_code == 2


@pytest.mark.slow
def test_the_command_runs_the_network_of_a_task(here: Path, ray: Any) -> None:
    """Its values go to the actors with the network, and its name is no option of anything else."""
    cfg, weights = here / "two.cfg", here / "two.pt"
    cfg.write_text(add_tasks_to_text(training.yolor_text(), str(cfg), ("day", "night")))
    network = load(cfg)
    for tensor in implicit_tensors(network).values():
        tensor.data.normal_(1, 0.5, generator=torch.Generator().manual_seed(3))
    save_checkpoint(network, weights, names=training.NAMES)
    result = yolor("ray", cfg, weights, "pictures", "--task", "night", "--conf", ".001", "--out", "found")
    assert result.exit_code == 0, result.stderr
    day, night = (Detector(cfg, weights, task=task, conf=0.001) for task in ("day", "night"))
    check(read_rows("found"), night)
    assert expected(day) != expected(night)
    refused = yolor("ray", cfg, weights, "pictures", "--task", "dusk", "--out", "more")
    assert (refused.exit_code, "no such task" in refused.stderr) == (2, True)
