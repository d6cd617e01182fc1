"""What tests of imports share: a small published encoder."""

import pytest
import torch
from transformers import HubertConfig, HubertModel

collect_ignore = ["peers"]  # scripts for other environments


@pytest.fixture(scope="session")
def save_hubert():
    """Write a HuBERT of 12 channels and two layers, random weights, as transformers saves it."""

    def save(folder):
        config = HubertConfig(
            hidden_size=12,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            conv_dim=[8] * 7,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
        )
        torch.manual_seed(0)
        HubertModel(config).save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
        return folder

    return save
