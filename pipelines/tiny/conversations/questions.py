"""The ways in which people ask, in English and Chinese. The first of each is the plainest one."""

from collections.abc import Mapping

from pipelines.tiny.conversations.scene import Language

QUESTIONS: Mapping[str, Mapping[Language, tuple[str, ...]]] = {
    "picture": {
        "en": (
            "What is this?",
            "Describe this.",
            "What is in the picture?",
            "Describe the picture.",
            "What do you see?",
            "What can you see in this image?",
            "Describe this image.",
            "Caption this picture.",
            "Write a caption.",
            "What is where?",
            "What does the picture show?",
            "Tell me what you see.",
        ),
        "zh": (
            "这是什么?",
            "描述这张图片。",
            "图片里有什么?",
            "你看到了什么?",
            "请描述图片。",
            "图中是什么?",
            "请给这张图片写一个标题。",
            "这张照片里是什么?",
            "什么在哪里?",
        ),
    },
    "how_many_pictures": {
        "en": (
            "How many pictures?",
            "How many pictures are there?",
            "How many pictures do you see?",
            "Count the pictures.",
            "How many images are there?",
        ),
        "zh": ("有几张图片?", "有多少张图片?", "一共有几张图?", "数一数图片。", "几张图片?"),
    },
    "recording": {
        "en": (
            "What was said?",
            "What is this?",
            "Describe this.",
            "What did they say?",
            "What do you hear?",
            "Transcribe this.",
            "Transcribe the recording.",
            "Write down what you hear.",
            "Which digits were spoken?",
            "What is being said?",
            "Which words were spoken?",
        ),
        "zh": (
            "说了什么?",
            "这是什么?",
            "你听到了什么?",
            "请写下你听到的内容。",
            "转写这段录音。",
            "录音里说了什么?",
            "请转录这段语音。",
            "听到了哪些数字?",
        ),
    },
    "largest": {
        "en": (
            "Which digit is largest?",
            "Which digit is the largest?",
            "What is the largest digit?",
            "Which is the biggest digit?",
            "Name the largest number.",
        ),
        "zh": ("哪个数字最大?", "最大的数字是哪个?", "最大的数字是多少?", "哪一个最大?"),
    },
    "sum": {
        "en": (
            "Add the digits.",
            "What is the sum of the digits?",
            "Add them up.",
            "Add the numbers.",
            "What do the digits add up to?",
            "Sum the digits.",
        ),
        "zh": (
            "把这些数字加起来。",
            "数字的和是多少?",
            "这些数字加起来是多少?",
            "求这些数字的和。",
            "请把数字相加。",
        ),
    },
    "how_many_digits": {
        "en": ("How many digits?", "How many digits were spoken?", "Count the digits."),
        "zh": ("有几个数字?", "一共说了几个数字?", "数一数数字。"),
    },
}
