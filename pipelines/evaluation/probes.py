"""What codes say of an input's label: a linear probe, and a small sequence classifier.

Both are trained twice on the same inputs, once on the codes alone and once on the continuous
features that the codes stand for; the difference is what quantizing costs. The classifier's table
of codes begins with their centroids, which come with the codes: which of them are alike need not be
learnt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dvse.errors import TrainingError
from pipelines.evaluation.encoded import EncodedInput


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """Size and training of the sequence classifier.

    Attributes:
        epochs: passes over the inputs, at least.
        steps: more passes are made until there are so many steps, for few inputs need them; but
            never more than `most_epochs`.
    """

    width: int = 128
    num_layers: int = 2
    epochs: int = 12
    most_epochs: int = 40
    steps: int = 750
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0


def probe_figures(
    train: Sequence[EncodedInput],
    splits: Mapping[str, Sequence[EncodedInput]],
    *,
    num_codes: int,
    centroids: Tensor | None = None,
) -> dict[str, Any]:
    """Return the accuracies of both probes on codes and on features, and what codes lost.

    `centroids` are those of the codes, `fp32 [levels, num_codes, dim]`, where they have any.
    """
    sequence = partial(sequence_probe, centroids=centroids)
    results: dict[str, Any] = {}
    for name, probe in (("linear", linear_probe), ("sequence", sequence)):
        for what, use_features in (("codes", False), ("features", True)):
            scores = probe(train, splits, num_codes=num_codes, use_features=use_features)
            results.setdefault(name, {})[what] = {k: round(v, 4) for k, v in scores.items()}
        codes, features = results[name]["codes"], results[name]["features"]
        results[name]["lost"] = {k: round(features[k] - codes[k], 4) for k in codes}
    return results


def linear_probe(
    train: Sequence[EncodedInput],
    splits: Mapping[str, Sequence[EncodedInput]],
    *,
    num_codes: int,
    use_features: bool,
) -> dict[str, float]:
    """Return the share of inputs that logistic regression labels rightly, for each split.

    It sees how often each code of each level occurs in an input (without order), or the mean and
    spread of its features.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def table(inputs: Sequence[EncodedInput]) -> np.ndarray:
        if use_features:
            return np.stack(
                [np.concatenate([e.features.mean(0), e.features.std(0)]) for e in inputs]
            )
        return np.stack([np.sqrt(_histogram(entry.codes, num_codes)) for entry in inputs])

    names = label_names(train)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    model.fit(table(train), _labels(train, names))
    return {
        name: float((model.predict(table(inputs)) == _labels(inputs, names)).mean())
        for name, inputs in splits.items()
    }


def sequence_probe(
    train: Sequence[EncodedInput],
    splits: Mapping[str, Sequence[EncodedInput]],
    *,
    num_codes: int,
    use_features: bool,
    centroids: Tensor | None = None,
    settings: ProbeSettings | None = None,
) -> dict[str, float]:
    """Return the share of inputs that a small transformer labels rightly, for each split.

    `centroids` as for `probe_figures`; without them the table of codes begins at random.
    """
    settings = settings or ProbeSettings()
    names = label_names(train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        embed: nn.Module
        if use_features:
            embed = _FeatureEmbedding(train[0].features.shape[1], settings.width)
        else:
            table = _table(centroids, train[0].codes.shape[1], num_codes, settings.width)
            embed = _CodeEmbedding(table, settings.width)
        model = _Classifier(embed, len(names), settings)
        _fit(model, train, names, settings)
    model.eval()
    scores = {}
    with torch.inference_mode():
        for name, inputs in splits.items():
            found = np.concatenate([model(batch).argmax(1).numpy() for batch in _batches(inputs)])
            scores[name] = float((found == _labels(inputs, names)).mean())
    return scores


def label_names(inputs: Sequence[EncodedInput]) -> list[str]:
    """Return the labels that occur, sorted.

    Raises:
        TrainingError: fewer than two.
    """
    names = sorted({entry.source.label for entry in inputs})
    if len(names) < 2:
        raise TrainingError(f"a probe needs inputs of at least two labels, received {names}")
    return names


class _Classifier(nn.Module):
    """Embed each position, mix them in a few transformer layers, take the mean."""

    def __init__(self, embed: nn.Module, num_labels: int, settings: ProbeSettings) -> None:
        super().__init__()
        width = settings.width
        self.embed = embed
        self.mix = nn.Conv1d(width, width, 3, padding=1, groups=width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0.2, batch_first=True, norm_first=True
            )
            for _ in range(settings.num_layers)
        )
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(0.2), nn.Linear(width, num_labels)
        )

    def forward(self, inputs: Sequence[EncodedInput]) -> Tensor:
        lengths = torch.tensor([len(entry.codes) for entry in inputs])
        is_padding = torch.arange(int(lengths.max())) >= lengths[:, None]
        x = self.embed(inputs)
        x = x + _positions(inputs, x.shape[1], x.shape[2])
        x = x.masked_fill(is_padding[..., None], 0)
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=is_padding)
        mean = x.masked_fill(is_padding[..., None], 0).sum(1) / lengths[:, None]
        return self.head(mean)


class _CodeEmbedding(nn.Module):
    """Codes of inputs, padded, to the sum of what the levels' tables say, `[B, T, width]`.

    `table` is `fp32 [levels, num_codes, dim]`, what the embedding begins with.
    """

    def __init__(self, table: Tensor, width: int) -> None:
        super().__init__()
        levels, self.num_codes, dim = table.shape
        self.table = nn.Embedding.from_pretrained(
            table.reshape(levels * self.num_codes, dim).clone(), freeze=False
        )
        self.widen = nn.Linear(dim, width)

    def forward(self, inputs: Sequence[EncodedInput]) -> Tensor:
        codes = _padded([torch.from_numpy(entry.codes.astype(np.int64)) for entry in inputs])
        offsets = torch.arange(codes.shape[-1]) * self.num_codes
        return self.widen(self.table(codes + offsets).sum(2))


class _FeatureEmbedding(nn.Module):
    """Features of inputs, padded, to `[B, T, width]`."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width))

    def forward(self, inputs: Sequence[EncodedInput]) -> Tensor:
        return self.project(_padded([torch.from_numpy(entry.features) for entry in inputs]))


def _table(centroids: Tensor | None, levels: int, num_codes: int, width: int) -> Tensor:
    """Return centroids brought to mean 0 and spread 1, or random ones."""
    if centroids is None:
        return torch.randn(levels, num_codes, width)
    centered = centroids - centroids.mean((0, 1))
    return centered / centered.std()


def _fit(
    model: _Classifier,
    train: Sequence[EncodedInput],
    names: Sequence[str],
    settings: ProbeSettings,
) -> None:
    rng = np.random.default_rng(settings.seed)
    labels = torch.from_numpy(_labels(train, names))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.05)
    num_batches = -(-len(train) // settings.batch_size)
    wanted = min(-(-settings.steps // num_batches), settings.most_epochs)
    epochs = max(settings.epochs, wanted)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=num_batches * epochs
    )
    for _ in range(epochs):
        for chosen in np.array_split(rng.permutation(len(train)), num_batches):
            scores = model([train[i] for i in chosen])
            loss = nn.functional.cross_entropy(scores, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _positions(inputs: Sequence[EncodedInput], length: int, width: int) -> Tensor:
    """Return sines of the row and column in a picture, or of the time in a recording."""
    table = torch.zeros(len(inputs), length, width)
    rates = torch.exp(torch.arange(width // 4) * (-4.0 * 4 / width))
    places: dict[tuple[int, int] | None, Tensor] = {}
    for number, entry in enumerate(inputs):
        if entry.grid not in places:
            columns = entry.grid[1] if entry.grid else 1
            index = torch.arange(length)
            angles = [(index // columns)[:, None] * rates, (index % columns)[:, None] * rates]
            waves = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
            places[entry.grid] = torch.cat(waves, dim=1)
        table[number, :, : places[entry.grid].shape[1]] = places[entry.grid]
    return table


def _batches(inputs: Sequence[EncodedInput], size: int = 128) -> list[Sequence[EncodedInput]]:
    return [inputs[i : i + size] for i in range(0, len(inputs), size)]


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _histogram(codes: np.ndarray, num_codes: int) -> np.ndarray:
    levels = [np.bincount(level, minlength=num_codes) for level in codes.T]
    return np.concatenate(levels) / len(codes)


def _labels(inputs: Sequence[EncodedInput], names: Sequence[str]) -> np.ndarray:
    place = {name: i for i, name in enumerate(names)}
    unknown = {e.source.label for e in inputs} - set(names)
    if unknown:
        raise TrainingError(
            f"labels that do not match: {sorted(unknown)[:3]} never occur in the training split"
        )
    return np.array([place[entry.source.label] for entry in inputs], dtype=np.int64)
