"""Triton and KServe repositories, read by Triton's own schema and run by ONNX Runtime."""

from functools import partial
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from google.protobuf import text_format
from google.protobuf.runtime_version import VersionError

from model_store.bundle.bundle import Bundle
from model_store.bundle.repository import write_kserve, write_triton
from model_store.errors import RepositoryError
from model_store.image import decode
from model_store.runtime import ort
from model_store.store.store import Store
from serving.inference.predictor import Predictor
from tests.builders.bundles import build_bundle, encode, picture
from tests.builders.processes import candor_here

candor = partial(candor_here, "export")


def _load_schema() -> Any:
    """Triton's ModelConfig alone: importing the package would import gRPC."""
    package = find_spec("tritonclient")
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = spec_from_file_location("triton_model_config", path)
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except VersionError as error:  # the lowest release of protobuf is not tritonclient's
        pytest.skip(str(error), allow_module_level=True)
    return module


model_config_pb2 = _load_schema()


class RepositoryServer:
    """Runs the latest version in a repository as Triton's pages say."""

    def __init__(self, repository: Path, name: str) -> None:
        folder = repository / name
        self.config = text_format.Parse(
            (folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()
        )
        assert self.config.name == folder.name
        assert self.config.backend == "onnxruntime"
        versions = [int(path.name) for path in folder.iterdir() if path.is_dir()]
        (self.input,), (self.output,) = self.config.input, self.config.output
        self.labels = (folder / self.output.label_filename).read_text().splitlines()
        file = folder / str(max(versions)) / (self.config.default_model_filename or "model.onnx")
        self.session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])

    def infer(self, images: Any) -> Any:
        """Probabilities of at most `max_batch_size` images, checked as Triton checks tensors."""
        assert len(images) <= self.config.max_batch_size
        assert list(images.shape[1:]) == list(self.input.dims)
        assert images.dtype == np.uint8
        assert self.input.data_type == model_config_pb2.TYPE_UINT8
        (found,) = self.session.run([self.output.name], {self.input.name: images})
        assert list(found.shape[1:]) == list(self.output.dims)
        assert self.output.data_type == model_config_pb2.TYPE_FP32
        return found


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return build_bundle(
        tmp_path / "store" / "Chest_1.5" / "3", version=3, name="Chest_1.5", height=9, width=7
    )


def test_the_repository_gives_candors_answers(bundle: Bundle, tmp_path: Path) -> None:
    write_triton(bundle, tmp_path / "repository")
    server = RepositoryServer(tmp_path / "repository", "Chest_1.5")
    encoded = [encode(picture(seed), "PNG") for seed in range(server.config.max_batch_size)]
    found = server.infer(np.stack([decode(each, bundle.card.input.spec) for each in encoded]))
    predictor = Predictor(bundle)
    for row, each in zip(found, encoded, strict=True):
        answer = predictor.classify(each)
        assert server.labels[int(row.argmax())] == answer.predicted
        np.testing.assert_allclose(row, list(answer.probabilities.values()), atol=1e-6)


def test_the_layout_is_tritons(bundle: Bundle, tmp_path: Path) -> None:
    version = write_triton(bundle, tmp_path / "repository")
    assert version == tmp_path / "repository" / "Chest_1.5" / "3"
    files = {
        path.relative_to(tmp_path / "repository").as_posix()
        for path in (tmp_path / "repository").rglob("*.*")
    }
    model = {"Chest_1.5", "Chest_1.5/config.pbtxt", "Chest_1.5/labels.txt"}
    assert files == model | {"Chest_1.5/3/model.onnx", "Chest_1.5/3/card.json"}
    config = RepositoryServer(tmp_path / "repository", "Chest_1.5").config
    (group,) = config.instance_group
    assert (group.count, group.kind) == (1, model_config_pb2.ModelInstanceGroup.KIND_AUTO)
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert config.parameters["bundle_digest"].string_value == bundle.digest
    assert config.parameters["referral_threshold"].string_value == "0.6"


def test_versions_stand_side_by_side_and_never_change(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    for version in (1, 2):
        write_triton(
            build_bundle(tmp_path / str(version), version=version, temperature=1.0 + version),
            repository,
        )
    versions = sorted(path.name for path in (repository / "tiny").iterdir() if path.is_dir())
    assert versions == ["1", "2"]
    for name, differs, said in (
        ("again", {"version": 2}, "never changes"),
        ("other", {"version": 3, "height": 5}, "input or output"),
        ("named", {"version": 3, "classes": ("a\nb", 'quote"', "c")}, "classes"),
    ):
        made = build_bundle(tmp_path / name, **differs)
        with pytest.raises(RepositoryError, match=said):
            write_triton(made, repository)
    assert sorted(path.name for path in repository.iterdir()) == ["tiny"]
    write_triton(made, tmp_path / "new")
    assert RepositoryServer(tmp_path / "new", "tiny").labels == ["a b", 'quote"', "c"]


def test_kserve_gets_a_repository_and_a_service(bundle: Bundle, tmp_path: Path) -> None:
    service = write_kserve(bundle, tmp_path / "out", storage_uri="s3://models/chest")
    assert RepositoryServer(tmp_path / "out" / "models", "Chest_1.5").labels == list(
        bundle.card.classes
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"models", service.name}
    said = yaml.safe_load(service.read_text())
    assert (said["apiVersion"], said["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert said["metadata"]["name"] == "chest-1-5"
    model = said["spec"]["predictor"]["model"]
    assert model["storageUri"] == "s3://models/chest"
    assert (model["modelFormat"]["name"], model["protocolVersion"]) == ("onnx", "v2")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    store = Store(tmp_path / "models")
    store.publish("tiny", lambda folder, version: build_bundle(folder, version=version))
    return store.folder("tiny", 1)


@pytest.mark.parametrize("form", ["triton", "kserve"])
def test_the_command_takes_a_bundle_of_a_store(published: Path, tmp_path: Path, form: str) -> None:
    done = candor(published, "--format", form, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    repository = tmp_path / "out" if form == "triton" else tmp_path / "out" / "models"
    images = np.zeros((2, 3, 8, 8), np.uint8)
    assert RepositoryServer(repository, "tiny").infer(images).shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "triton"], "--out"),
        (["--format", "bento", "--out", "x"], "kserve"),
        (["--out", "x"], "--format"),
    ],
)
def test_wrong_usage_says_what_is_right(published: Path, arguments: list[str], said: str) -> None:
    done = candor(published, *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


def test_a_damaged_bundle_is_not_exported(published: Path, tmp_path: Path) -> None:
    (published / "labels.txt").write_text("x")
    done = candor(published, "--format", "triton", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert not (tmp_path / "out").exists()
