"""How a command ends: 0 only if its work was done, else one clear line on standard error and no traceback."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from drillcore.cli.logs import log_path
from drillcore.errors import DrillcoreError, RecipeError
from drillcore.extras import missing_extra
from drillcore.files import DISK_ERRORS
from drillcore.settings import Settings

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
TERMINATED = 143  # 128 + SIGTERM
UNEXPECTED = 70  # EX_SOFTWARE
_SQLITE = {
    "disk is full": errno.ENOSPC,
    "disk I/O error": errno.EIO,
    "readonly database": errno.EROFS,
}  # what SQLite says


def guarded(command: click.Command, arguments: Sequence[str], *, is_stopped: Callable[[], bool] = lambda: False) -> int:
    """Run `command` and return its exit code.

    Args:
        command: what to run.
        arguments: of the command line.
        is_stopped: whether it was told to end: whatever error comes of that is no news.
    """
    try:
        result = command.main(args=list(arguments), prog_name="drillcore", standalone_mode=False)
    except RecipeError as error:  # a line for each mistake of a recipe
        return _say(str(error), error.exit_code, lines=True)
    except DrillcoreError as error:
        return _say(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "drillcore"
        return _say(f"{error.format_message().rstrip('.')}; see {path} --help", error.exit_code)
    except click.ClickException as error:
        return _say(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, for instance `| head`
        return 0
    except Exception as error:  # noqa: BLE001 - the last resort: logged whole, said in one line
        if is_stopped():
            return _interrupted()
        if isinstance(error, ModuleNotFoundError) and (text := missing_extra(error)):
            return _say(text, 1)
        if (disk := _of_the_disk(error)) is not None:
            return _say(disk, 1)
        return _say(explain(error), 1) if isinstance(error, OSError) else _unexpected(error)
    return result if isinstance(result, int) else 0


def _interrupted() -> int:
    return _say("interrupted; what was finished is kept, the same command goes on from there", INTERRUPTED)


def _say(text: str, code: int, *, lines: bool = False) -> int:
    for number, line in enumerate(text.splitlines() if lines else [text]):
        click.echo(f"{'  ' if number else 'drillcore: '}{' '.join(line.split())}", err=True)
    return code


def explain(error: OSError) -> str:
    """Return what is said of an error of a file: which place, and what to do."""
    # A copy names its source first; a disk that is full or closed is that of its target.
    place = (error.filename2 if error.errno in DISK_ERRORS else None) or error.filename
    where = f" {place}" if place else ""
    known = {
        errno.ENOSPC: f"no space left on the device{where}; free some (drillcore gc --dry-run says what may go)",
        errno.EDQUOT: f"the disk quota is used up{where}; free some space and run the command again",
        errno.EFBIG: f"a file may not grow that large here{where}",
        errno.EACCES: f"no permission for{where}",
        errno.EPERM: f"not permitted:{where}",
        errno.EROFS: f"the file system is read-only:{where}",
        errno.EIO: f"the disk fails to read or write{where}; look at the system's log",
        errno.ENOENT: f"no such file or folder:{where}",
        errno.ENOTDIR: f"not a folder, or below a file:{where}",
        errno.EISDIR: f"a folder, where a file is expected:{where}",
        errno.EADDRINUSE: "the port is in use; choose another with --port",
    }
    return known.get(error.errno or 0, f"{error.strerror or error}{':' if where else ''}{where}")


def _of_the_disk(error: BaseException) -> str | None:
    """Return what a disk that is full, closed or failing has to do with an error; None where it has nothing.

    Libraries say so in errors of their own, which name no place: it is told from what each of ours has left.
    """
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return None
        if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
            if cause.filename or cause.filename2:
                return explain(cause)
            return explain(OSError(cause.errno, cause.strerror, _tightest()))
        if isinstance(cause, sqlite3.OperationalError):
            for words, number in _SQLITE.items():
                if words in str(cause):
                    return explain(OSError(number, str(cause), _tightest()))
        cause = cause.__cause__ or cause.__context__
    return None


def _tightest() -> str:
    """Return the folder with the least room of those a command writes to: state, temporary files, the present one."""

    def free(folder: Path) -> int:
        try:
            found = os.statvfs(folder)
        except OSError:
            return sys.maxsize
        return 0 if found.f_flag & os.ST_RDONLY else found.f_bavail * found.f_frsize

    try:
        state = [Settings.load_anywhere().state]
    except DrillcoreError:
        state = []
    return str(min((*state, Path(tempfile.gettempdir()), Path.cwd()), key=free))


def _unexpected(error: Exception) -> int:
    logging.getLogger("drillcore").error("unexpected error", exc_info=error)
    first = (str(error).splitlines() or [""])[0][:300]
    return _say(f"unexpected {type(error).__name__}: {first} (details: {log_path() or 'no log'})", UNEXPECTED)
