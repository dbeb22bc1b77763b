"""Every metric of Argosy, declared once. docs/operations.md has this as a table.

`project` is one of the busiest projects, or `other`. Outcomes of requests: ok, redirected
(to the object storage), missing (404), denied (401, 403), throttled (429), refused (other
4xx), failed (5xx), gone (the client left).
"""

from typing import Final

from argosy.meters.kinds import Counter, Gauge, Histogram, Metric

_COUNTS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
_TRANSFERS: Final = (0.005, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)  # of those of HTTP_SECONDS

# Requests.
HTTP_REQUESTS: Final = Counter("argosy_http_requests_total", "Answers", "route", "method", "status")
HTTP_SENT: Final = Counter(
    "argosy_http_sent_bytes_total", "Bytes of bodies sent", "route", "method", "status"
)
HTTP_SECONDS: Final = Histogram(
    "argosy_http_request_seconds", "Time to the end of the answer", "route", "method", "status"
)
CONNECTIONS: Final = Gauge("argosy_http_connections", "Open connections of clients")
LOOP_LAG: Final = Gauge(
    "argosy_loop_lag_seconds", "How late the event loop's last tick came", merge="max"
)

# Pulls and pushes.
PULLS: Final = Counter(
    "argosy_pulls_total", "Pulls of a manifest or blob", "project", "kind", "outcome"
)
PUSHES: Final = Counter(
    "argosy_pushes_total",
    "Pushes of a manifest or blob (a chunk of a blob counts as `chunk`)",
    "project",
    "kind",
    "outcome",
)
PULLED: Final = Counter("argosy_pulled_bytes_total", "Bytes sent to who pulls", "project")
PUSHED: Final = Counter("argosy_pushed_bytes_total", "Bytes taken from who pushes", "project")
TRANSFER_SECONDS: Final = Histogram(
    "argosy_transfer_seconds",
    "Time of pulls (direction pull) and pushes (push) of manifests and blobs, to the last byte",
    "project",
    "direction",
    "outcome",
    bounds=_TRANSFERS,
)
UPLOADS: Final = Gauge("argosy_uploads", "Uploads that this server is at")
UPLOADS_LEFT: Final = Gauge(
    "argosy_uploads_unfinished",
    "Uploads that were begun and not finished, on all nodes; looked at every 15 s",
    merge="max",
)
UPLOAD_OLDEST: Final = Gauge(
    "argosy_upload_oldest_seconds",
    "For how long nobody has written to the oldest of them",
    merge="max",
)
RECEIVED: Final = Counter("argosy_received_bytes_total", "Bytes of blobs received")

# Blob storage.
STORAGE_ERRORS: Final = Counter(
    "argosy_storage_errors_total",
    "Requests that failed because of the disk, the object storage or the database;"
    " kind is the error's code",
    "kind",
)
S3_REQUESTS: Final = Counter(
    "argosy_s3_requests_total",
    "Calls of the object storage, each try; outcome is ok, missing, slow_down, error or timeout;"
    " GetKey asks for a key where keys end",
    "operation",
    "outcome",
)
S3_SECONDS: Final = Histogram(
    "argosy_s3_request_seconds", "Time of a call of the object storage", "operation"
)
S3_RETRIES: Final = Counter(
    "argosy_s3_retries_total", "Calls of the object storage made again", "operation"
)

# Database.
DATABASE_SECONDS: Final = Histogram(
    "argosy_database_seconds", "Time of a transaction, without waiting for it to begin", "kind"
)
DATABASE_WAIT: Final = Histogram(
    "argosy_database_wait_seconds", "Time a transaction waits for a connection or its turn", "kind"
)
DATABASE_BATCH: Final = Histogram(
    "argosy_database_batch_size", "Writes that were committed together", bounds=_COUNTS
)
DATABASE_CONNECTIONS: Final = Gauge(
    "argosy_database_connections", "Connections to PostgreSQL that somebody uses"
)
DATABASE_RETRIES: Final = Counter(
    "argosy_database_retries_total",
    "Transactions done again; reason is race (a deadlock or a conflict) or lost (the connection)",
    "reason",
)
DATABASE_ERRORS: Final = Counter(
    "argosy_database_errors_total",
    "Transactions that failed for good; kind is read or write (SQLite), lost, race or final",
    "kind",
)

# Access.
LOGINS: Final = Counter(
    "argosy_logins_total",
    "Credentials that were looked at (not those remembered from a moment ago);"
    " credential is password, token (a personal one), robot or provider (OpenID Connect, in a"
    " browser); outcome is ok, wrong, refused"
    " (right, but more is needed) or throttled",
    "credential",
    "outcome",
)
TOKENS_ISSUED: Final = Counter(
    "argosy_tokens_issued_total", "Tokens given out; kind is access, refresh or personal", "kind"
)
DENIALS: Final = Counter(
    "argosy_denials_total",
    "Requests denied; reason is anonymous (asked who they are), invalid (credentials) or forbidden",
    "reason",
)
THROTTLED: Final = Counter(
    "argosy_throttled_total",
    "Requests slowed or refused by a limit: login, requests, bandwidth or uploads",
    "limit",
)
QUOTA_REFUSALS: Final = Counter(
    "argosy_quota_refusals_total", "Pushes refused by a quota: bytes or artifacts", "limit"
)
PROJECT_BYTES: Final = Gauge(
    "argosy_project_bytes",
    "What the largest projects use, shared blobs once",
    "project",
    merge="max",
)
PROJECT_QUOTA: Final = Gauge(
    "argosy_project_quota_bytes", "What they may use; 0: no limit", "project", merge="max"
)

# Caches.
CACHE_HITS: Final = Counter("argosy_cache_hits_total", "Lookups that memory answered", "cache")
CACHE_MISSES: Final = Counter("argosy_cache_misses_total", "Lookups that it did not", "cache")

# Audit.
AUDIT_BUFFERED: Final = Gauge(
    "argosy_audit_buffered", "Denials (and pulls) that wait to be written to the audit log"
)
AUDIT_SUMMED: Final = Counter(
    "argosy_audit_summed_total", "Denials (and pulls) counted together: their sources were too many"
)
AUDIT_UNSEALED: Final = Gauge(
    "argosy_audit_unsealed", "Entries of the audit log that wait to be chained", merge="max"
)
AUDIT_SEALED: Final = Counter("argosy_audit_sealed_total", "Entries of the audit log chained")
AUDIT_LAG: Final = Gauge(
    "argosy_audit_forward_lag", "Entries that a destination has not got yet", "to", merge="max"
)
AUDIT_FORWARDED: Final = Counter(
    "argosy_audit_forwarded_total", "Entries that a destination has got", "to"
)
AUDIT_FORWARD_ERRORS: Final = Counter(
    "argosy_audit_forward_errors_total", "Tries to forward entries that failed", "to"
)

# The server itself.
READY: Final = Gauge(
    "argosy_ready",
    "Whether what the server needs works (1) or not (0), as last looked at",
    "check",
    merge="min",
)
BACKGROUND_FAILURES: Final = Counter(
    "argosy_background_failures_total",
    "Times that a job of the server's own failed unexpectedly and was begun again",
    "task",
)
LOG_DROPPED: Final = Counter(
    "argosy_log_dropped_total", "Lines of the log that were dropped: who reads them is too slow"
)
BUILD: Final = Gauge("argosy_build_info", "1, with the version", "version", "python", merge="max")
WORKERS: Final = Gauge("argosy_workers", "Processes of the server that answer")
CPU: Final = Counter("process_cpu_seconds_total", "CPU time used")
MEMORY: Final = Gauge("process_resident_memory_bytes", "Memory in use")
FILES: Final = Gauge("process_open_fds", "Open files")
FILES_MOST: Final = Gauge("process_max_fds", "Files that may be open")
STARTED: Final = Gauge("process_start_time_seconds", "When it started, since 1970", merge="max")

ALL: Final[tuple[Metric, ...]] = tuple(v for v in list(globals().values()) if isinstance(v, Metric))
"""All of them, in this order."""
