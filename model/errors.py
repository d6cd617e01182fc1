"""Every error that `model` raises on purpose, in one tree.

Each class also inherits the matching builtin. A message says what was expected, what was received
and what to do next.

    ModelError
    ├── ModelConfigError (ValueError)        a setting outside its range, or an unknown one
    ├── ModelInputError (ValueError)         ids that the model cannot read
    │   ├── TokenIdError (IndexError)        an id outside the vocabulary
    │   ├── EmptySequenceError               no token at all
    │   └── ContextLengthError               more positions than the context holds
    ├── CheckpointError (OSError)            a directory that is no checkpoint of this model
    │   ├── MissingShardError (FileNotFoundError)
    │   └── TensorShapeError (RuntimeError)  a tensor whose shape is not the configuration's
    └── CalibrationError (ValueError)        gates that cannot reach the wanted saving
"""


class ModelError(Exception):
    """Base of all errors that `model` raises on purpose."""


class ModelConfigError(ModelError, ValueError):
    """A setting outside its range, or an unknown one."""


class ModelInputError(ModelError, ValueError):
    """Ids, embeddings or a cache that the model cannot read."""


class TokenIdError(ModelInputError, IndexError):
    """An id outside the vocabulary."""


class EmptySequenceError(ModelInputError):
    """A sequence without a single token."""


class ContextLengthError(ModelInputError):
    """More positions than `max_position_embeddings`."""


class CheckpointError(ModelError, OSError):
    """A directory that is no checkpoint of this model."""


class MissingShardError(CheckpointError, FileNotFoundError):
    """A weight file that the checkpoint's index names is not there."""


class TensorShapeError(CheckpointError, RuntimeError):
    """A stored tensor does not have the shape that the configuration asks for."""


class CalibrationError(ModelError, ValueError):
    """Gates that cannot be set to the wanted saving."""
