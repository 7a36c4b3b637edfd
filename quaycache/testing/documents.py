"""The JSON documents of Quay's API v1, field for field.

Order and presence of the fields follow Quay's serialisers: ``_tag_dict`` in
``endpoints/api/tag.py`` and ``to_dict`` in ``endpoints/api/repository_models_interface.py``.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from quaycache.testing.records import RepositoryRecord, TagLifetime

Document = dict[str, Any]

# The registry stores no manifests, so every tag has the same size in bytes.
_SIZE = 29


def listing_row(
    record: RepositoryRecord, now_ms: int, *, last_modified: bool, authenticated: bool
) -> Document:
    """Return one repository as a row of a listing."""
    row: Document = {
        "namespace": record.namespace,
        "name": record.name,
        "description": record.description,
        "is_public": record.public,
        "kind": record.kind,
        "state": record.state,
    }
    if last_modified:
        row["last_modified"] = record.last_modified(now_ms)
    if authenticated:
        row["is_starred"] = False
    return row


def tag_row(lifetime: TagLifetime) -> Document:
    """Return one tag as a row; it has ``end_ts`` and ``expiration`` only if it has an expiry."""
    row: Document = {
        "name": lifetime.name,
        "reversion": lifetime.reversion,
        "start_ts": lifetime.start_ms // 1000,
    }
    if lifetime.end_ms is not None:
        row["end_ts"] = lifetime.end_ms // 1000
    row["manifest_digest"] = lifetime.manifest_digest
    row["is_manifest_list"] = lifetime.manifest_list
    row["size"] = _SIZE
    row["last_modified"] = formatdate(lifetime.start_ms // 1000)
    if lifetime.end_ms is not None:
        row["expiration"] = formatdate(lifetime.end_ms // 1000)
    if lifetime.manifest_list:
        row["is_sparse"] = False
        row["child_manifest_count"] = 0
        row["present_child_count"] = 0
        row["child_manifests_presence"] = {}
    return row


def repository_document(
    record: RepositoryRecord, tags: list[TagLifetime] | None, *, may_write: bool
) -> Document:
    """Return one repository; it has a map of tags unless `tags` is None."""
    document: Document = {
        "namespace": record.namespace,
        "name": record.name,
        "kind": record.kind,
        "description": record.description,
        "is_public": record.public,
        "is_organization": True,
        "is_starred": False,
        "status_token": "",
        "trust_enabled": False,
        "tag_expiration_s": 1_209_600,
        "is_free_account": True,
        "state": record.state,
    }
    if tags is not None:
        document["tags"] = {tag.name: _mapped_tag(tag) for tag in tags}
    document["can_write"] = may_write and record.state == "NORMAL"
    document["can_admin"] = may_write
    return document


def _mapped_tag(lifetime: TagLifetime) -> Document:
    tag: Document = {
        "name": lifetime.name,
        "size": _SIZE,
        "last_modified": formatdate(lifetime.start_ms // 1000),
    }
    if lifetime.end_ms is not None:
        tag["expiration"] = formatdate(lifetime.end_ms // 1000)
    tag["manifest_digest"] = lifetime.manifest_digest
    return tag


def error_document(status: int, error_type: str, detail: str) -> Document:
    """Return the document of an application error."""
    return {
        "detail": detail,
        "error_message": detail,
        "error_type": error_type,
        "title": error_type,
        "type": f"https://localhost/api/v1/error/{error_type}",
        "status": status,
    }
