"""Methods that look at no layer, and those that look at embeddings alone, where no layers match."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor, nn

from kdstudy.cli import run
from kdstudy.errors import ModelError
from kdstudy.layerwise import LayerPair, match_embeddings
from kdstudy.models import Layout
from kdstudy.plugins import TRANSFERS
from kdstudy.results import EpochRecord
from kdstudy.study import TrialConfig, parse_study
from kdstudy.trial import dataset_of, run_trial, teacher_spec
from kdstudy.trial.pairs import need_of
from tests.configs import fresh_teacher, trial_config

TEXT = """
name: tiny
seed: 3
data: {{name: synthetic, val_fraction: 0.25}}
teacher: {{model: resnet8, epochs: 1}}
student: {{model: '{student}'}}
train: {{epochs: 2, batch_size: 32, base_lr: {{log: [0.01, 0.1]}}}}
arms: {{transfers: [{transfers}], policies: [{policies}]}}
search: {{trials_per_arm: 1}}
confirm: {{seeds: 0}}
"""


class Mlp(nn.Module):
    """A network without maps."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, 12), nn.ReLU())
        self.fc = nn.Linear(12, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.body(images))


class Line(nn.Module):
    """A network of one layer."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.mean((2, 3)))


def study_file(tmp_path: Path, student: type[nn.Module], transfers: str, policies: str = "constant") -> Path:
    path = tmp_path / "study.yaml"
    name = f"{__name__}:{student.__name__}"
    path.write_text(TEXT.format(student=name, transfers=transfers, policies=policies))
    return path


def config_of(path: Path) -> TrialConfig:
    study = parse_study(path.read_text(), "tiny.yaml")
    ((_, config), *_) = study.corners()
    return config


@pytest.mark.parametrize("transfer", ["none", "kd", "dkd", "sp", "rkd", "pkt", "{crd: {negatives: 8, dim: 4}}"])
def test_it_is_trained_where_no_layer_matches(tmp_path: Path, transfer: str) -> None:
    epochs: list[EpochRecord] = []
    result = run_trial(
        config_of(study_file(tmp_path, Mlp, transfer)),
        lambda epoch, _result: epochs.append(epoch),
        teacher=fresh_teacher(),
    )
    assert result.state == "completed"
    own = {transfer.strip("{").partition(":")[0]} - {"none"}
    assert {name.partition("/")[0] for name in epochs[0].terms} == {"cross_entropy"} | own


@pytest.mark.parametrize(
    ("transfers", "policies", "told"),
    [
        ("attention", "constant", "layers: no output of the student has the height and width"),
        ("[fitnet, kd]", "constant", "layers: no output of the student has the height and width"),
        ("kd", "{layerwise: {interval: 1}}", "layers: no output of the student has the height and width"),
        ("sp", "placebo", "layers: no output of the student has the height and width"),
    ],
)
def test_what_needs_layers_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], transfers: str, policies: str, told: str
) -> None:
    assert run(["check", str(study_file(tmp_path, Mlp, transfers.strip("[]"), policies))]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_network_without_an_embedding_has_soft_targets_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(study_file(tmp_path, Line, "sp"))]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no layer of the student matches one of the other network, or gives one vector" in line
    assert run(["check", str(study_file(tmp_path, Line, "kd, dkd"))]) == 0


def test_every_method_says_what_it_needs() -> None:
    needs = {name: TRANSFERS.load(name).needs for name in TRANSFERS}
    assert {name for name, need in needs.items() if need == "nothing"} == {"none", "kd", "dkd"}
    assert {name for name, need in needs.items() if need == "embedding"} == {"sp", "rkd", "pkt", "crd"}
    constant = trial_config().policy
    assert need_of(trial_config("kd").transfer, constant) == "nothing"
    assert need_of(trial_config("attention").transfer, constant) == "layers"
    assert need_of(trial_config("kd").transfer, trial_config(policy="placebo").policy) == "layers"


def test_the_embedding_is_what_the_last_layer_before_the_logits_gave() -> None:
    plain = [("body", (8, 4, 4)), ("pool", (8, 1, 1)), ("fc", (5,))]
    tokens = [("blocks", (24, 8, 8)), ("norm", (24,)), ("drop", (24,)), ("head.fc", (5,)), ("head", (5,))]
    pair = match_embeddings(plain, tokens)
    assert pair == LayerPair("pool", "drop", (8, 1, 1), (24, 1, 1), teacher_layout=Layout("vector"))
    with pytest.raises(ModelError, match="no layer of the teacher matches"):
        match_embeddings(plain, [("fc", (5,))])


@pytest.mark.parametrize("teacher", ["ViT", "Hierarchy"])
@pytest.mark.parametrize("transfer", ["{attention: {weight: 30}}", "{jacobian: {weight: 1}}", "{fitnet: {weight: 1}}"])
def test_a_transformer_teaches_a_convolutional_student(tmp_path: Path, teacher: str, transfer: str) -> None:
    path = study_file(tmp_path, Mlp, transfer)
    text = path.read_text().replace(f"'{__name__}:Mlp'", "resnet8").replace("epochs: 2", "epochs: 4")
    options = "{size: [8, 8], depth: 4}" if teacher == "ViT" else "{}"
    path.write_text(
        text.replace(
            "{model: resnet8, epochs: 1}", f"{{model: {{'tests.transformers:{teacher}': {options}}}, epochs: 1}}"
        )
    )
    config = config_of(path)
    epochs: list[EpochRecord] = []
    module = teacher_spec(config, dataset_of(config, with_test=False)).build(0)
    run_trial(config, lambda epoch, _result: epochs.append(epoch), teacher=module)
    first, last = ([loss for name, loss in epochs[at].terms.items() if name != "cross_entropy"] for at in (0, -1))
    assert len(first) == (1 if "fitnet" in transfer else 3 if teacher == "ViT" else 2)
    assert sum(filter(None, last)) < sum(filter(None, first))
