"""Generated from proto/qmtl/wire/grpc by `just proto`; do not edit."""
