"""Options that services have in common; each can be given by an environment variable too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

GraphUrl = Annotated[
    str | None, typer.Option("--graph-url", envvar="QMTL_GRAPH_URL", help="neo4j://host:7687; embedded by default.")
]
BrokerUrl = Annotated[
    str | None, typer.Option("--broker-url", envvar="QMTL_BROKER_URL", help="kafka://host:9092; embedded by default.")
]
ArchiveUrl = Annotated[
    str | None, typer.Option("--archive-url", envvar="QMTL_ARCHIVE_URL", help="file:///folder; in the data folder.")
]
PostgresDsn = Annotated[
    str | None,
    typer.Option("--postgres-dsn", envvar="QMTL_POSTGRES_DSN", help="postgresql://host/db; embedded by default."),
]
RedisDsn = Annotated[
    str | None, typer.Option("--redis-dsn", envvar="QMTL_REDIS_DSN", help="redis://host:6379; embedded by default.")
]
DataDir = Annotated[Path, typer.Option("--data", envvar="QMTL_DATA", help="Folder of the embedded stores.")]
Host = Annotated[str, typer.Option(envvar="QMTL_HOST", help="Address to listen on.")]
Port = Annotated[int, typer.Option(envvar="QMTL_PORT", min=0, max=65535, help="Port of the Gateway; 0 takes any.")]
NoAuth = Annotated[bool, typer.Option("--no-auth", help="Let everybody in; on loopback only.")]
JwksUrl = Annotated[
    str | None, typer.Option("--jwks-url", envvar="QMTL_JWKS_URL", help="Key set that signs tokens; else a secret.")
]
Sentinels = Annotated[bool, typer.Option("--sentinels/--no-sentinels", help="Give each submission a version.")]
Lease = Annotated[float, typer.Option("--lease", min=1, help="Seconds after which a dead worker's work is taken over.")]
SessionTimeout = Annotated[
    float, typer.Option("--session-timeout", min=0.2, help="Seconds after which a silent runner is taken for dead.")
]
LogLevel = Annotated[str, typer.Option("--log-level", metavar="debug|info|warning|error", help="Of the log on stderr.")]
SecretFile = Annotated[
    Path | None,
    typer.Option("--secret-file", envvar="QMTL_SECRET_FILE", help="Secret shared by the services; in the data folder."),
]
TlsCa = Annotated[Path | None, typer.Option("--tls-ca", envvar="QMTL_TLS_CA", help="Who signs the other side, PEM.")]
TlsCert = Annotated[Path | None, typer.Option("--tls-cert", envvar="QMTL_TLS_CERT", help="Own certificate, PEM.")]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", envvar="QMTL_TLS_KEY", help="Own private key, PEM.")]
