"""What a generator wrote is what it writes today."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the generator writes a little differently on others")
def test_the_grpc_code_follows_from_its_definition(root, tmp_path):
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    definition = "proto/qmtl/wire/grpc/dagmanager.proto"
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *outputs, definition], cwd=root, check=True)
    for made in (tmp_path / "qmtl/wire/grpc").iterdir():
        assert made.read_text() == (root / "src/qmtl/wire/grpc" / made.name).read_text(), "run: just proto"
