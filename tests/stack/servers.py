"""The real servers, as plain processes on 127.0.0.1: each knows its URL, can crash, hang and come back."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

from stack.process import HERE, HOST, MissingServerError, Server, ServerFailedError, exchange

#: Filled by fetch_jars.sh.
JARS = HERE.parents[1] / ".cache" / "jars"


class JavaServer(Server):
    """First compiler only and serial collector: less memory, faster start."""

    program = "java"
    install = "apt-get install openjdk-17-jre-headless"

    def find(self) -> str:
        complete = sorted(path.parent for path in JARS.glob(f"{self.name}-*/.complete"))
        if not complete:
            raise MissingServerError(f"there are no jars of {self.name}; get them with: just jars")
        self.jars = complete[-1]
        self.program_glob = os.environ.get("JAVA_HOME", "/nowhere") + "/bin/java"
        return super().find()

    def java(self, *arguments: str) -> list[str]:
        return [
            self.binary,
            "-Xms128m",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={self.dir}",
            "-Djava.awt.headless=true",
            "-Dfile.encoding=UTF-8",
            *arguments,
        ]


class Kafka(JavaServer):
    name = "kafka"
    scheme = "kafka"
    port_count = 2
    config = ("kafka.properties", "server.properties")

    def main(self, main_class: str, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={HERE / 'conf' / 'kafka-log4j2.xml'}"
        return self.java(logging, "-cp", f"{self.jars}/*", main_class, *arguments, f"{self.dir}/server.properties")

    def prepare(self) -> None:
        super().prepare()
        done = subprocess.run(
            self.main("kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c"),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerFailedError(f"kafka format failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def command(self) -> list[str]:
        return self.main("kafka.Kafka")

    def ready(self) -> bool:
        """ApiVersions: length, key 18, version 0, correlation 7, client id. The broker listens to clients only
        once it is registered, so correlation 7 and error 0 mean that topics can be created."""
        answer = exchange(self.port, struct.pack(">ihhih", 10, 18, 0, 7, 0), 10)
        return answer[4:] == struct.pack(">ih", 7, 0)


class Neo4j(JavaServer):
    name = "neo4j"
    scheme = "neo4j"
    config = ("neo4j.conf", "conf/neo4j.conf")

    def command(self) -> list[str]:
        opens = [
            f"--add-opens=java.base/{package}=ALL-UNNAMED"
            for package in ("java.nio", "java.io", "sun.nio.ch", "java.util.concurrent")
        ]
        return self.java(
            *opens,
            "-Dio.netty.tryReflectionSetAccessible=true",
            "-Dlog4j2.disable.jmx=true",
            "-cp",
            f"{self.jars}/*",
            "org.neo4j.server.CommunityEntryPoint",
            f"--home-dir={self.dir}",
            f"--config-dir={self.dir}/conf",
            "--console-mode",
        )

    def ready(self) -> bool:
        """Bolt handshake, the server picks 5.x. The very first query still takes one to two seconds more."""
        return exchange(self.port, bytes.fromhex("6060b017 00080805") + bytes(12), 4)[3:] == b"\x05"


class Postgres(Server):
    name = "postgres"
    scheme, login, database = "postgresql", "postgres@", "/postgres"
    program = "postgres"
    program_glob = "/usr/lib/postgresql/*/bin/postgres"
    install = "apt-get install postgresql"
    user = "postgres"

    def prepare(self) -> None:
        initdb = Path(self.binary).resolve().with_name("initdb")
        subprocess.run(
            [initdb, "-D", "data", "-A", "trust", "-U", "postgres", "-N", "--no-locale", "-E", "UTF8"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.dir,
            **self.run_as,
        )

    def command(self) -> list[str]:
        return [self.binary, "-D", "data", "-h", HOST, "-p", str(self.port), "-k", str(self.dir)]

    def ready(self) -> bool:
        """Start-up message, protocol 3.0. R: authentication follows; E: still starting or recovering."""
        names = b"user\0postgres\0database\0postgres\0\0"
        return exchange(self.port, struct.pack(">ii", 8 + len(names), 3 << 16) + names, 1) == b"R"


class Redis(Server):
    """Every write is in the append-only file before its answer."""

    name = "redis"
    scheme = "redis"
    program = "redis-server"
    install = "apt-get install redis-server"

    def command(self) -> list[str]:
        durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        return [self.binary, "--port", str(self.port), "--bind", HOST, "--dir", str(self.dir), *durable]

    def ready(self) -> bool:
        return exchange(self.port, b"PING\r\n", 5) == b"+PONG"
