"""A real S3 server on loopback (moto's) behind a proxy with faults: the fixtures `s3` and `bucket`.

Requests go over HTTP through s3fs, aiobotocore and botocore, as they do to any other store.
"""

import contextlib
import os
from dataclasses import dataclass

import pytest
from faulty_proxy import FaultyProxy

SECRET = "dvse-test-secret-which-must-not-be-seen"
KEY = "DVSETESTKEYID1234567"


@dataclass
class S3:
    """What tests need of it."""

    proxy: FaultyProxy
    environment: dict

    @property
    def faults(self):
        return self.proxy.faults


@contextlib.contextmanager
def running():
    """Run server and proxy."""
    pytest.importorskip("s3fs")
    pytest.importorskip("flask_cors")
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        with FaultyProxy(*server.get_host_and_port()) as proxy:
            yield S3(
                proxy,
                {
                    "AWS_ENDPOINT_URL": proxy.address,
                    "AWS_ACCESS_KEY_ID": KEY,
                    "AWS_SECRET_ACCESS_KEY": SECRET,
                    "AWS_DEFAULT_REGION": "us-east-1",
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "AWS_CONFIG_FILE": os.devnull,
                    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                    "NO_PROXY": "127.0.0.1",
                },
            )
    finally:
        server.stop()


def make_bucket(s3, name):
    """Make a bucket by a plain client."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3.proxy.address,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=name)
    return client
