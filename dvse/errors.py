"""Every error that DVSE raises on purpose, in one tree.

Each class also inherits the matching builtin, so that `except ValueError` keeps working for
people who have never heard of DVSE. A message says what was expected, what was received and what
to do next.

    DvseError
    ├── InputError (ValueError)             one input cannot be tokenised; the others go on
    │   ├── MissingFileError (FileNotFoundError)
    │   ├── UnreadableFileError (PermissionError)
    │   ├── DecodeError                     broken, truncated or unknown media
    │   ├── TooLargeError                   more pixels or samples than the limit allows
    │   ├── TooShortError                   less than one code's worth of signal
    │   ├── FeatureOverflowError (OverflowError)  an encoder gave NaN or infinity
    │   ├── PromptTooLongError              more ids than a decoder's context holds
    │   └── ItemTypeError (TypeError)       a bare string where dvse.Text or dvse.Image was meant
    ├── VocabularyError (ValueError)
    │   ├── IdRangeError (IndexError)       an id or code outside its block
    │   └── GrammarError                    ids that do not form a legal stream
    ├── BundleError (ValueError)
    │   ├── BundleNotFoundError (FileNotFoundError)
    │   ├── BundleFormatError               unknown version, missing or unknown field
    │   ├── BundleIntegrityError            a file does not have the recorded hash
    │   ├── UnsafeFileError                 a pickle where only safetensors and JSON may be
    │   ├── ModelMismatchError              a decoder made for another bundle
    │   └── WeightsFormatError              published weights that cannot be taken in
    ├── ConfigError (ValueError)            a setting outside its range, or an unknown one
    ├── TrainingError (ValueError)          data or a checkpoint that cannot be trained on
    ├── JobError (RuntimeError)             a batch job cannot start or go on
    │   ├── ResumeError                     another bundle, inputs or numerics than before
    │   ├── TooManyErrorsError              --max-error-rate was passed
    │   ├── WorkerDiedError                 a worker was killed twice on the same partition
    │   ├── StorageError (OSError)          the output cannot be written: a full disk
    │   │   └── CredentialsError            a store knows no credentials, or does not take them
    │   └── ShardError                      a shard is corrupt or incomplete
    └── MissingExtraError (ImportError)     an optional dependency is not installed
"""


class DvseError(Exception):
    """Base of all errors that DVSE raises on purpose."""


class InputError(DvseError, ValueError):
    """One input cannot be tokenised; the others are not affected."""


class MissingFileError(InputError, FileNotFoundError):
    """A path that does not exist."""


class UnreadableFileError(InputError, PermissionError):
    """A path that exists and cannot be read."""


class DecodeError(InputError):
    """Media that is empty, broken, truncated or of an unknown kind."""


class TooLargeError(InputError):
    """Media with more pixels or samples than the limit allows."""


class TooShortError(InputError):
    """Media with less signal than one code needs."""


class FeatureOverflowError(InputError, OverflowError):
    """An encoder that gave NaN or infinity in the precision at hand; no code is made of that."""


class PromptTooLongError(InputError):
    """A prompt with more ids than the decoder's context holds."""


class ItemTypeError(InputError, TypeError):
    """An item that is none of `dvse.Text`, `dvse.Image`, `dvse.Audio`."""


class VocabularyError(DvseError, ValueError):
    """A vocabulary that cannot be built, read or grown."""


class IdRangeError(VocabularyError, IndexError):
    """An id or a code outside the block that it should lie in."""


class GrammarError(VocabularyError):
    """Ids that do not form a legal stream."""


class BundleError(DvseError, ValueError):
    """A bundle that cannot be used."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """Neither a shipped name, nor a directory, nor a Hub id that could be fetched."""


class BundleFormatError(BundleError):
    """An unknown format version, or a missing or unknown field."""


class BundleIntegrityError(BundleError):
    """A file that does not have the hash recorded for it."""


class UnsafeFileError(BundleError):
    """A pickle (code that runs on loading) inside a bundle."""


class ModelMismatchError(BundleError):
    """A decoder and a bundle that do not belong together."""


class WeightsFormatError(BundleError):
    """Published weights or centroids of another kind, damaged, or that do not fit together."""


class ConfigError(DvseError, ValueError):
    """A setting outside its range, or one that does not exist."""


class TrainingError(DvseError, ValueError):
    """Data, labels or a checkpoint that cannot be trained on."""


class JobError(DvseError, RuntimeError):
    """A batch job that cannot start or go on."""


class ResumeError(JobError):
    """A job directory made with another bundle, other inputs or another numerics profile."""


class TooManyErrorsError(JobError):
    """More inputs failed than `--max-error-rate` allows."""


class WorkerDiedError(JobError):
    """A worker process died twice on the same partition."""


class StorageError(JobError, OSError):
    """The output cannot be written: the disk is full or went away."""


class CredentialsError(StorageError):
    """Nothing behind a store can be had: its credentials are missing, refused, or have expired."""


class ShardError(JobError):
    """A token shard that is corrupt or incomplete."""


class MissingExtraError(DvseError, ImportError):
    """An optional dependency is missing; the message names the extra that installs it."""

    @classmethod
    def for_extra(cls, package: str, extra: str) -> "MissingExtraError":
        """Build the one-line error that names the extra to install.

        >>> print(MissingExtraError.for_extra("faiss", "faiss"))
        faiss is not installed; install it with: pip install 'dvse[faiss]'
        """
        return cls(f"{package} is not installed; install it with: pip install 'dvse[{extra}]'")
