# Each recipe is at most three lines; .ci/run calls the same ones.
set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

# Show the recipes
default:
    @just --list --unsorted

# Style: ruff's rules and its formatter
lint:
    uv run ruff check .
    uv run ruff format --check .

# Types: mypy strict over the package and the typed picture of the public API
types:
    uv run mypy

# Layers: who may import whom
layers:
    uv run lint-imports

# Every test
test *args:
    uv run pytest -q tests "$@"

# Unit tests only (under a minute)
unit *args:
    uv run pytest -q tests/unit "$@"

# The numeric tests once more, interpreted: same bits without the compiler
interpreted *args:
    NUMBA_DISABLE_JIT=1 uv run pytest -q tests -m numeric "$@"

# What must be equal on every Python, on the Python given: just portable 3.13
portable python *args:
    UV_PROJECT_ENVIRONMENT=.venv-{{python}} uv run --python {{python}} pytest -q tests -m "identity or golden or determinism" {{args}}

# The benchmark table against the peers (several minutes)
bench *args:
    uv run python benchmarks/run.py "$@"

# The jars of Kafka and Neo4j for tests (needs Maven and a JDK)
jars:
    bash tests/stack/fetch_jars.sh .cache/jars

# The gRPC code from its definition
proto:
    uv run python -m grpc_tools.protoc -Iproto --python_out=src --pyi_out=src --grpc_python_out=src proto/qmtl/wire/grpc/*.proto

# The main job in one go
demo *args:
    uv run qmtl demo "$@"

# Mend style where a machine can
fix:
    uv run ruff check --fix .
    uv run ruff format .

# What a change needs before it lands
check: lint types layers test
