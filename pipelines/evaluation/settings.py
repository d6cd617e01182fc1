"""How much is measured. Plain values; knows no torch."""

from dataclasses import dataclass
from pathlib import Path

from dvse.errors import ConfigError
from dvse.precision import Precision
from pipelines.runs.numerics_settings import batch_tokens_setting, precision_setting
from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How much is measured.

    Attributes:
        probe: train the probes (most of the time that an evaluation takes).
        codes: measure the codes at all; without, only the decoder is judged.
        lpips, rfid: files of weights; without them these figures are not measured.

    Raises:
        ConfigError: fewer than two inputs.
    """

    max_train: int = setting(4000, "inputs that maps and probes are learnt from")
    max_inputs: int = setting(1000, "inputs of each other split")
    probe: bool = setting(True, "leave the slowest part out", name="probes")
    precision: Precision = precision_setting()
    batch_tokens: int | None = batch_tokens_setting()
    lpips: tuple[Path, ...] = setting(
        (),
        "measure LPIPS of rebuilt pictures: torchvision's alexnet or vgg16 weights and the lpips "
        "package's linear layers for it (alex.pth, vgg.pth), or one file that holds both",
        metavar="FILE,FILE",
    )
    rfid: Path | None = setting(
        None,
        "measure rFID: the FID's Inception v3, as pytorch-fid or torch-fidelity publishes it",
        metavar="FILE",
    )
    codes: bool = True

    def __post_init__(self) -> None:
        if min(self.max_train, self.max_inputs) < 2:
            raise ConfigError("expected at least 2 inputs for --max-train and --max-inputs")
