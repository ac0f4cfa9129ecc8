"""Backbones, the paper's head, and cached features of a frozen backbone."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from model_store.image import InputSpec
from training.datasets import ArrayImages, Dataset, Split, fingerprint
from training.errors import BadBackbone, BadWeights, UnknownName, WeightsNotFound
from training.features import cache as features
from training.features.cache import FeatureCache
from training.networks import backbones
from training.networks.backbones import (
    SMALL,
    Trunk,
    find_weights,
    load_trunk,
    truncate,
    weights_digest,
)
from training.networks.classifier import (
    Backbone,
    Classifier,
    build_classifier,
    draw_trunk,
    head_seeds,
    joined,
    shape_of,
)
from training.networks.heads import Head, mean_answer
from training.networks.weight_files import read_tensors

SPEC = InputSpec(channels=1, height=32, width=32, resize="stretch")
SMALL_WEIGHTS = (32, 1, 3, 3)  # of the first layer of the small network
TINY_TIMM = "test_efficientnet"  # 0.4 million weights, made by timm for tests


def classifier(name: str = SMALL, *, spec: InputSpec = SPEC, **choice: Any) -> Classifier:
    choices = {"class_count": 3, "reduction": 2, "frozen": True, "seed": 0} | choice
    return build_classifier(draw_trunk(name, "none", seed=choices["seed"]), spec, **choices)


def images(count: int, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, 32, 32), generator=generator, dtype=torch.uint8)


class TestNetwork:
    def test_normalizes_inside_and_shows_gray_as_color(self) -> None:
        trunk = Trunk(nn.Identity(), 1, (0.5,), (0.25,))
        found = Backbone(trunk)(torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2))
        torch.testing.assert_close(found.flatten(), torch.tensor([-2.0, 2.0]))
        color = Backbone(Trunk(nn.Conv2d(3, 4, 3), 3, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)))
        gray = images(2)
        torch.testing.assert_close(color(gray), color(gray.repeat(1, 3, 1, 1)))

    @pytest.mark.parametrize("frozen", [True, False])
    def test_a_frozen_backbone_never_changes_and_a_whole_network_does(self, frozen: bool) -> None:
        network = classifier(frozen=frozen).train()
        before = weights_digest(network.backbone)
        network(images(4)).sum().backward()
        assert weights_digest(network.backbone) == before
        assert all(each.training for each in network.head.modules())
        assert not any(each.training for each in network.backbone.modules())
        assert all(each.grad is not None for each in network.head.parameters())
        assert all(each.grad is None for each in network.backbone.parameters())
        assert (SMALL_WEIGHTS in {each.shape for each in network.head.parameters()}) != frozen

    @pytest.mark.parametrize("reduction", [2, 4])
    def test_the_head_is_the_papers(self, reduction: int) -> None:
        head = Head((16, 4, 5), class_count=3, reduction=reduction)
        assert head(torch.zeros(2, 16, 4, 5)).shape == (2, 3)
        conv, pool = head[0], head[3]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(pool, nn.MaxPool2d)
        assert (conv.kernel_size, conv.out_channels) == ((1, 1), 16 // reduction)
        assert (pool.kernel_size, pool.stride) == (2, 1)
        assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.5, 0.5]

    def test_the_probabilities_of_several_are_the_mean_of_theirs(self) -> None:
        parts = [classifier(seed=seed).eval() for seed in head_seeds(2, 3)]
        for part in parts[1:]:
            part.backbone = parts[0].backbone
        each = torch.stack([part(images(5)).double().softmax(dim=1) for part in parts])
        whole = joined(parts, mean=mean_answer)(images(5)).double().softmax(dim=1)
        torch.testing.assert_close(whole, each.mean(dim=0), rtol=1e-5, atol=1e-6)
        assert len({weights_digest(part.head) for part in parts}) == 3

    def test_weights_depend_on_the_seed_alone_and_nothing_else_is_drawn(self) -> None:
        first = weights_digest(classifier(seed=3))
        torch.rand(17)
        state = torch.random.get_rng_state()
        assert first == weights_digest(classifier(seed=3)) != weights_digest(classifier(seed=4))
        assert torch.equal(torch.random.get_rng_state(), state)


class TestTrunks:
    def test_a_timm_file_is_loaded(self, tmp_path: Path) -> None:
        source: Any = timm.create_model(TINY_TIMM)
        save_file(source.state_dict(), tmp_path / "weights.safetensors")
        trunk = load_trunk(TINY_TIMM, tmp_path / "weights.safetensors").module.eval()
        image = torch.rand(1, 3, 64, 64)
        torch.testing.assert_close(trunk(image), source.eval().forward_features(image))

    @pytest.mark.slow
    def test_a_trunk_gives_what_the_whole_network_pools(self) -> None:
        torch.manual_seed(0)
        whole = torchvision.models.resnet18(weights=None).eval()
        image = torch.rand(2, 3, 96, 96)
        pooled = whole.fc(truncate(whole, "resnet18")(image).mean(dim=(2, 3)))
        torch.testing.assert_close(pooled, whole(image))

    def test_tokens_become_a_map(self) -> None:
        trunk = load_trunk("test_vit", "none").module
        tokens = trunk.model.forward_features(torch.ones(1, 3, 160, 160))
        found = trunk(torch.ones(1, 3, 160, 160))
        side = found.shape[-1]
        assert found.shape == (1, tokens.shape[2], side, side)
        place = trunk.model.num_prefix_tokens + side + 2
        torch.testing.assert_close(found[0, :, 1, 2], tokens[0, place])

    @pytest.mark.slow
    def test_published_files_are_found_and_old_names_understood(self, tmp_path: Path) -> None:
        source: Any = torchvision.models.densenet121(weights=None)
        old = {
            re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): each
            for key, each in source.state_dict().items()
            if "num_batches_tracked" not in key  # older than that
        }
        assert any(".norm.1." in key for key in old)
        (tmp_path / "weights").mkdir()
        torch.save(old, tmp_path / "weights" / "densenet121-a639ec97.pth")
        path = find_weights("torchvision/densenet121", tmp_path)
        image = torch.rand(1, 3, 64, 64)
        whole = torch.relu(source.eval().features(image))
        found = load_trunk("torchvision/densenet121", path).module(image)
        torch.testing.assert_close(found, whole)

    def test_weights_are_found(self, tmp_path: Path) -> None:
        file = tmp_path / "weights" / "resnet18.safetensors"
        file.parent.mkdir()
        file.touch()
        assert find_weights("torchvision/resnet18", tmp_path) == file
        assert find_weights("torchvision/resnet50", tmp_path) == "hub"
        assert find_weights("resnet18", None) == "hub"
        assert find_weights(SMALL, tmp_path) == "none"

    def test_a_checkpoint_that_wraps_them_is_opened(self, tmp_path: Path) -> None:
        torch.save({"epoch": 3, "state_dict": {"a": torch.ones(2)}}, tmp_path / "wrapped.pth")
        assert read_tensors(tmp_path / "wrapped.pth")["a"].tolist() == [1, 1]

    def test_the_hub_is_used_only_on_request_and_its_first_weights(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[object] = []

        def create(name: str, *, pretrained: bool) -> Any:
            asked.append(pretrained)
            return timm.models.create_model(name)

        def get_model(_name: str, *, weights: object) -> nn.Module:
            asked.append(weights)
            return torchvision.models.squeezenet1_1(weights=None)

        monkeypatch.setattr(backbones.timm, "create_model", create)
        monkeypatch.setattr(backbones.torchvision.models, "get_model", get_model)
        for name, weights in [
            (TINY_TIMM, "hub"),
            (TINY_TIMM, "none"),
            ("torchvision/resnet50", "hub"),
            ("torchvision/regnet_y_128gf", "hub"),
        ]:
            load_trunk(name, weights)
        assert asked == [True, False, "IMAGENET1K_V1", "DEFAULT"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "weights", "error", "said"),
        [
            ("resnet9000", "none", UnknownName, "resnet9000"),
            ("torchvision/resnet9000", "none", UnknownName, "resnet9000"),
            (SMALL, "hub", WeightsNotFound, "none"),
            (TINY_TIMM, Path("nowhere.pth"), WeightsNotFound, "nowhere"),
        ],
    )
    def test_a_name_or_a_file_that_is_not_there(
        self, name: str, weights: Any, error: type[Exception], said: str
    ) -> None:
        with pytest.raises(error, match=said):
            load_trunk(name, weights)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (lambda path: save_file({"alien": torch.zeros(2)}, path), r"and \d+ more.*alien"),
            (lambda path: path.write_text("<html>"), "does not hold"),
            (lambda path: torch.save({"a": len}, path), "does not hold"),
            (lambda path: torch.save([1, 2], path), "a dictionary of tensors"),
            (lambda path: torch.save({"model": 3}, path), "a dictionary of tensors"),
        ],
    )
    def test_a_file_of_something_else(self, tmp_path: Path, content: Any, said: str) -> None:
        content(tmp_path / "weights")
        with pytest.raises(BadWeights, match=said):
            load_trunk(TINY_TIMM, tmp_path / "weights")

    @pytest.mark.parametrize("name", [TINY_TIMM, "torchvision/resnet18"])
    def test_an_unreachable_hub(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: object, **__: object) -> None:
            raise OSError("no route to host")

        monkeypatch.setattr(backbones.timm, "create_model", unreachable)
        monkeypatch.setattr(backbones.torchvision.models, "get_model", unreachable)
        with pytest.raises(WeightsNotFound, match=r"no route to host.*https://.*\.safetensors"):
            load_trunk(name, "hub")

    def test_a_size_that_does_not_fit(self) -> None:
        backbone = Backbone(load_trunk("test_vit", "none"))
        with pytest.raises(BadBackbone, match="choose another image size"):
            shape_of(backbone, InputSpec(channels=3, height=90, width=90, resize="stretch"))
        with pytest.raises(BadBackbone, match="larger image size"):
            Head((16, 1, 1), class_count=3, reduction=2)

    def test_a_network_without_a_feature_map(self, monkeypatch: pytest.MonkeyPatch) -> None:
        small = torchvision.models.VisionTransformer(backbones.SIDE, 16, 1, 1, 8, 8)
        monkeypatch.setattr(backbones.torchvision.models, "get_model", lambda *_, **__: small)
        with pytest.raises(BadBackbone, match="has no feature map"):
            load_trunk("torchvision/vit_b_16", "none")


class TestFeatureCache:
    @pytest.fixture
    def dataset(self) -> Dataset:
        split = Split(ArrayImages(images(70)[:, 0].numpy()), np.arange(70) % 3)
        splits: dict[Any, Split] = {"train": split, "val": split, "test": split}
        classes = ("a", "b", "c")
        return Dataset("random", classes, 1, 32, splits, fingerprint(classes, splits))

    def cache(
        self, root: Path, dataset: Dataset, *, seed: int = 0, spec: InputSpec = SPEC
    ) -> FeatureCache:
        backbone = classifier(seed=seed).backbone
        return FeatureCache(
            root, dataset=dataset, backbone_name=SMALL, backbone=backbone, spec=spec
        )

    def test_features_are_computed_once(
        self, tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[str, int, int]] = []
        cache = self.cache(tmp_path, dataset)
        kept = cache.read(
            "val", progress=lambda stage, done, total, **_: seen.append((stage, done, total))
        )
        assert isinstance(kept, np.memmap)
        torch.testing.assert_close(
            torch.from_numpy(np.array(kept)), cache.backbone(images(70)), rtol=1e-5, atol=1e-5
        )
        assert seen == [("features val", 64, 70), ("features val", 70, 70)]

        again = self.cache(tmp_path, dataset)
        monkeypatch.setattr(again, "_compute", lambda *_, **__: pytest.fail("computed twice"))
        np.testing.assert_array_equal(again.read("val"), kept)

    def test_the_key_depends_on_weights_images_and_size(
        self, tmp_path: Path, dataset: Dataset
    ) -> None:
        other_size = InputSpec(channels=1, height=40, width=40, resize="stretch")
        other_data = Dataset("other", dataset.classes, 1, 32, dataset.splits, "0" * 64)
        folders = {
            self.cache(tmp_path, dataset).folder,
            self.cache(tmp_path, dataset, seed=1).folder,
            self.cache(tmp_path, dataset, spec=other_size).folder,
            self.cache(tmp_path, other_data).folder,
        }
        assert len(folders) == 4

    def test_an_interruption_leaves_no_file_that_looks_complete(
        self, tmp_path: Path, dataset: Dataset
    ) -> None:
        def interrupt(_stage: str, _done: int, _total: int, /, **_: float) -> None:
            raise KeyboardInterrupt

        cache = self.cache(tmp_path, dataset)
        with pytest.raises(KeyboardInterrupt):
            cache.read("train", progress=interrupt)
        assert list(cache.folder.iterdir()) == []
        assert len(cache.read("train")) == 70
        assert features.BATCH_SIZE < 70
