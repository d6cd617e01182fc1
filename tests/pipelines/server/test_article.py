"""The article's client listing, run as it is but for the address."""

import subprocess
import sys
import urllib.request

import pytest
from server_process import running, serve_command

from dvse.errors import BundleNotFoundError
from pipelines.model_directory import find_model

LISTING = """
from langchain_openai import ChatOpenAI
import os

chat_model = ChatOpenAI(
    model="autoglm-phone-9b",
    temperature=0.5,
    base_url="ADDRESS/v1",  # 替换为实际服务地址
    api_key="EMPTY",  # 当前服务无需认证
    extra_body={
        "enable_thinking": True,  # 启用思维链推理模式
        "return_reasoning": True,  # 返回中间推理过程
    },
    streaming=True,  # 启用流式输出
)

# 发起同步请求
response = chat_model.invoke("你是谁?")
print(response.content)
"""
NAME = ("--served-model-name", "autoglm-phone-9b")


def run_listing(address):
    return subprocess.run(
        [sys.executable, "-c", LISTING.replace("ADDRESS", address)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def metric(address, name):
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name)))


def test_the_listing_runs(random_model, tmp_path):
    with running(serve_command(random_model, *NAME), tmp_path / "log") as address:
        done = run_listing(address)
        assert done.returncode == 0, done.stderr
        asked = 'dvse_requests_total{path="/v1/chat/completions",status="200"}'
        assert metric(address, asked) == 1
        assert metric(address, "dvse_completion_tokens_total") > 0


def test_tiny_says_who_it_is(tmp_path):
    try:
        find_model("tiny")
    except BundleNotFoundError:
        pytest.skip("tiny is shipped without a decoder")
    with running(serve_command("tiny", *NAME), tmp_path / "log") as address:
        done = run_listing(address)
        assert done.returncode == 0, done.stderr
        assert "我" in done.stdout
