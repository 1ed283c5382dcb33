from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Sentinel(_message.Message):
    __slots__ = ("version", "commit_hash", "release_tag")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMIT_HASH_FIELD_NUMBER: _ClassVar[int]
    RELEASE_TAG_FIELD_NUMBER: _ClassVar[int]
    version: str
    commit_hash: str
    release_tag: str
    def __init__(self, version: _Optional[str] = ..., commit_hash: _Optional[str] = ..., release_tag: _Optional[str] = ...) -> None: ...

class DiffRequest(_message.Message):
    __slots__ = ("strategy_id", "run_type", "owner", "sentinel", "dry_run", "dag", "more")
    STRATEGY_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_TYPE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SENTINEL_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    DAG_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    strategy_id: str
    run_type: str
    owner: str
    sentinel: Sentinel
    dry_run: bool
    dag: bytes
    more: bool
    def __init__(self, strategy_id: _Optional[str] = ..., run_type: _Optional[str] = ..., owner: _Optional[str] = ..., sentinel: _Optional[_Union[Sentinel, _Mapping]] = ..., dry_run: _Optional[bool] = ..., dag: _Optional[bytes] = ..., more: _Optional[bool] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("diff_id", "seq")
    DIFF_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    diff_id: str
    seq: int
    def __init__(self, diff_id: _Optional[str] = ..., seq: _Optional[int] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ("diff_id", "after")
    DIFF_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    diff_id: str
    after: int
    def __init__(self, diff_id: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class DiffMessage(_message.Message):
    __slots__ = ("request", "ack", "resume")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    request: DiffRequest
    ack: Ack
    resume: Resume
    def __init__(self, request: _Optional[_Union[DiffRequest, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ...) -> None: ...

class DiffItem(_message.Message):
    __slots__ = ("node_id", "crc32", "topic", "action")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    crc32: int
    topic: str
    action: str
    def __init__(self, node_id: _Optional[str] = ..., crc32: _Optional[int] = ..., topic: _Optional[str] = ..., action: _Optional[str] = ...) -> None: ...

class DiffSummary(_message.Message):
    __slots__ = ("sentinel_id", "new", "reused", "buffering", "crc")
    SENTINEL_ID_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    REUSED_FIELD_NUMBER: _ClassVar[int]
    BUFFERING_FIELD_NUMBER: _ClassVar[int]
    CRC_FIELD_NUMBER: _ClassVar[int]
    sentinel_id: str
    new: int
    reused: int
    buffering: int
    crc: int
    def __init__(self, sentinel_id: _Optional[str] = ..., new: _Optional[int] = ..., reused: _Optional[int] = ..., buffering: _Optional[int] = ..., crc: _Optional[int] = ...) -> None: ...

class DiffChunk(_message.Message):
    __slots__ = ("diff_id", "seq", "items", "summary")
    DIFF_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    diff_id: str
    seq: int
    items: _containers.RepeatedCompositeFieldContainer[DiffItem]
    summary: DiffSummary
    def __init__(self, diff_id: _Optional[str] = ..., seq: _Optional[int] = ..., items: _Optional[_Iterable[_Union[DiffItem, _Mapping]]] = ..., summary: _Optional[_Union[DiffSummary, _Mapping]] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("strategy_id",)
    STRATEGY_ID_FIELD_NUMBER: _ClassVar[int]
    strategy_id: str
    def __init__(self, strategy_id: _Optional[str] = ...) -> None: ...

class ReleaseReply(_message.Message):
    __slots__ = ("topics",)
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, topics: _Optional[_Iterable[str]] = ...) -> None: ...

class PingRequest(_message.Message):
    __slots__ = ("dependencies",)
    DEPENDENCIES_FIELD_NUMBER: _ClassVar[int]
    dependencies: bool
    def __init__(self, dependencies: _Optional[bool] = ...) -> None: ...

class PingReply(_message.Message):
    __slots__ = ("version", "dependencies")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DEPENDENCIES_FIELD_NUMBER: _ClassVar[int]
    version: str
    dependencies: bytes
    def __init__(self, version: _Optional[str] = ..., dependencies: _Optional[bytes] = ...) -> None: ...

class QueueRequest(_message.Message):
    __slots__ = ("tags", "interval", "match")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedScalarFieldContainer[str]
    interval: int
    match: str
    def __init__(self, tags: _Optional[_Iterable[str]] = ..., interval: _Optional[int] = ..., match: _Optional[str] = ...) -> None: ...

class NodeRequest(_message.Message):
    __slots__ = ("tags",)
    TAGS_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tags: _Optional[_Iterable[str]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: bytes
    def __init__(self, json: _Optional[bytes] = ...) -> None: ...

class Attending(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: bytes
    def __init__(self, json: _Optional[bytes] = ...) -> None: ...

class Standing(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: bytes
    def __init__(self, json: _Optional[bytes] = ...) -> None: ...

class StandingsRequest(_message.Message):
    __slots__ = ("strategy_id",)
    STRATEGY_ID_FIELD_NUMBER: _ClassVar[int]
    strategy_id: str
    def __init__(self, strategy_id: _Optional[str] = ...) -> None: ...

class CleanupRequest(_message.Message):
    __slots__ = ("sentinel", "dry_run")
    SENTINEL_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    sentinel: str
    dry_run: bool
    def __init__(self, sentinel: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RedoRequest(_message.Message):
    __slots__ = ("sentinel", "dag", "rollback", "dry_run")
    SENTINEL_FIELD_NUMBER: _ClassVar[int]
    DAG_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    sentinel: str
    dag: bytes
    rollback: bool
    dry_run: bool
    def __init__(self, sentinel: _Optional[str] = ..., dag: _Optional[bytes] = ..., rollback: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...
