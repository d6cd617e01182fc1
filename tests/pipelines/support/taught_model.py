"""A small decoder that has learnt a few answers by heart, for tests where the words matter."""

from pathlib import Path
from typing import Any

import torch
from small_model import make_decoder

import dvse
from dvse.chat import render
from dvse.items import Item
from pipelines.answering.model_directory import save_model

WHO, WHO_ANSWER = "你是谁?", "我是 DVSE。"
WHO_REASONING = "有人问我是谁。"
PICTURE_ANSWER, SOUND_ANSWER, HELLO_ANSWER = "a house", "seven", "Hello, how are you today?"


def conversations(picture: bytes, sound: bytes) -> list[tuple[list[dict[str, Any]], bool]]:
    """What it learns: messages with the answer, and whether it is to think."""
    who = {"role": "user", "content": WHO}
    answer = {"role": "assistant", "content": WHO_ANSWER}
    picture_part = {"type": "image", "image": picture}
    question = {"type": "text", "text": "What is this?"}
    asked = [picture_part, question]
    heard = [{"type": "audio", "audio": sound}, {"type": "text", "text": "What was said?"}]
    said = {"role": "assistant"}
    return [
        ([who, answer], False),
        ([who, answer | {"reasoning_content": WHO_REASONING}], True),
        ([{"role": "user", "content": asked}, said | {"content": PICTURE_ANSWER}], False),
        ([{"role": "user", "content": heard}, said | {"content": SOUND_ANSWER}], False),
        ([{"role": "user", "content": "Hello"}, said | {"content": HELLO_ANSWER}], False),
    ]


def save_taught_model(directory: Path, picture: bytes, sound: bytes) -> Path:
    """Train it (a few seconds) and save it beside a copy of the shipped bundle."""
    tokenizer = dvse.load("tiny")
    rows: list[tuple[Item, ...]] = []
    masks = []
    for messages, _ in conversations(picture, sound):
        chat = render(messages)
        rows.append(chat.items)
        masks.append(chat.is_answer)
    encodings = [tokenizer.encode(list(row)) for row in rows]
    batch = tokenizer([list(row) for row in rows])
    labels = torch.full_like(batch.input_ids, -100)
    for row, (encoding, mask) in enumerate(zip(encodings, masks, strict=True)):
        learnt = torch.from_numpy(encoding.mask(mask))
        labels[row, : len(encoding)][learnt] = batch.input_ids[row, : len(encoding)][learnt]
    model = make_decoder(hidden_size=64, intermediate_size=128, head_dim=16, initializer_range=0.02)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(400):
        loss = model(batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if float(loss.detach()) < 0.01:
            break
    return save_model(model.eval(), "tiny", directory)
