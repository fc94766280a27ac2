"""The way to MLflow: imported late, kept quiet, its errors turned into one line."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from drillcore.errors import RegistryError, first_line
from drillcore.files import DISK_ERRORS
from drillcore.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE, NOTE_LENGTH = "mlflow.note.content", 5000  # MLflow's tag of a description, and how many characters one may have

# Set before MLflow is imported; what the user has set stays as it is.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # its seven, each longer, keep a person waiting for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
_LOGGERS = ("mlflow", "alembic")


def mlflow_library() -> ModuleType:
    """Return MLflow. For those who have a client: whoever imports it before one is opened gets its telemetry."""
    import mlflow

    library: ModuleType = mlflow
    return library


@contextlib.contextmanager
def mlflow_client(settings: Settings) -> Iterator[MlflowClient]:
    """Yield a client of the tracking and registry server; failures inside become a RegistryError of one line.

    Raises:
        RegistryError: the server, its database or the store of its artifacts cannot be reached or refuses.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    uri = settings.resolved_tracking_uri
    if uri.startswith("sqlite:///"):
        _make_folder(Path(uri.removeprefix("sqlite:///")).parent)
    with _quiet():
        from requests.exceptions import RequestException

        mlflow = mlflow_library()
        try:
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            yield mlflow.MlflowClient(uri, uri)
        except OSError as error:
            if not isinstance(error, RequestException) and error.errno in DISK_ERRORS:
                raise  # a place of this machine, which it names; MLflow has no part in it
            raise _failed(uri, error) from error
        except (mlflow.exceptions.MlflowException, RequestException, SQLAlchemyError) as error:
            raise _failed(uri, error) from error
        except Exception as error:
            if not _is_of_s3(error):
                raise
            raise RegistryError(
                f"the artifacts at {shown_uri(settings.artifact_root) or 's3://'} failed: {first_line(error)}; is the "
                "store up, does its bucket exist, and are its credentials and DRILLCORE_ARTIFACT_ROOT right?"
            ) from error


def _is_of_s3(error: Exception) -> bool:
    """Whether it is an error of S3's client, which MLflow lets through, or the client is absent."""
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    return absent in ("boto3", "botocore") or type(error).__module__.partition(".")[0] in ("boto3", "botocore")


def _failed(uri: str, error: Exception) -> RegistryError:
    return RegistryError(
        f"MLflow at {shown_uri(uri)} failed: {first_line(error)}; is the server up, the disk not full, and "
        "DRILLCORE_TRACKING_URI right?"
    )


def artifact_location(settings: Settings, experiment: str) -> str | None:
    """Return where an experiment's artifacts are kept: a file:// or s3:// URI; None where the server decides."""
    root = settings.artifact_root
    if not root:
        if settings.resolved_tracking_uri.startswith(("http://", "https://")):
            return None
        root = str(settings.state / "artifacts")
    if "://" in root:
        return f"{root.rstrip('/')}/{experiment}"
    return (Path(root).resolve() / experiment).as_uri()


def shown_uri(uri: str) -> str:
    """Return a URI without the password it may hold."""
    head, sep, rest = uri.partition("://")
    login, at, place = rest.rpartition("@")
    return f"{head}{sep}{login.partition(':')[0]}:***@{place}" if at else uri


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's and alembic's chatter off the terminal; warnings go where the caller's logging sends them."""
    # alembic's own configuration sets its level back to INFO whenever tables are made: a filter outlives that.
    filters = []
    for name in (*_LOGGERS, "alembic.runtime.migration", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
        logger = logging.getLogger(name)
        keep = _OnlyErrors()
        logger.addFilter(keep)
        filters.append((logger, keep))
    try:
        yield
    finally:
        for logger, keep in filters:
            logger.removeFilter(keep)


class _OnlyErrors(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryError(f"the folder of MLflow's database cannot be made: {folder}: {error.strerror}") from None
