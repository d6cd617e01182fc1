"""What is served: a tokenizer, the table of legal tokens and a batcher, under one name."""

from dataclasses import dataclass, field

from dvse.tokenizer import Tokenizer
from pipelines.answering.introduction import Introduction
from pipelines.answering.legal_tokens import LegalTokens
from pipelines.server.batching.batcher import Batcher


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """All that the endpoints need.

    Attributes:
        tokenizer: media and text to ids and back.
        legal: which tokens an answer may consist of.
        batcher: ids to tokens.
        introduction: what the model says of itself.
    """

    tokenizer: Tokenizer
    legal: LegalTokens
    batcher: Batcher
    introduction: Introduction = field(default_factory=Introduction)
