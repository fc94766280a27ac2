"""How a command ends: 0 only if its work was done, else one clear line on standard error and no traceback."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

import click

from drillcore.errors import DrillcoreError, RecipeError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
TERMINATED = 143  # 128 + SIGTERM
UNEXPECTED = 70  # EX_SOFTWARE


def guarded(command: click.Command, arguments: Sequence[str]) -> int:
    """Run `command` and return its exit code."""
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
        return _say("interrupted; what was finished is kept, the same command goes on from there", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, for instance `| head`
        return 0
    except OSError as error:
        return _say(_explain(error), 1)
    except Exception as error:  # noqa: BLE001 - the last resort: logged whole, said in one line
        return _unexpected(error)
    return result if isinstance(result, int) else 0


def _say(text: str, code: int, *, lines: bool = False) -> int:
    for number, line in enumerate(text.splitlines() if lines else [text]):
        click.echo(f"{'  ' if number else 'drillcore: '}{' '.join(line.split())}", err=True)
    return code


def _explain(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else ""
    known = {
        errno.ENOSPC: f"no space left on the device{where}; free some (drillcore gc --dry-run says what may go)",
        errno.EDQUOT: f"the disk quota is used up{where}; free some space and run the command again",
        errno.EFBIG: f"a file may not grow that large here{where}",
        errno.EACCES: f"no permission for{where}",
        errno.EPERM: f"not permitted:{where}",
        errno.EROFS: f"the file system is read-only:{where}",
        errno.ENOENT: f"no such file or folder:{where}",
        errno.ENOTDIR: f"not a folder, or below a file:{where}",
        errno.EISDIR: f"a folder, where a file is expected:{where}",
        errno.EADDRINUSE: "the port is in use; choose another with --port",
    }
    return known.get(error.errno or 0, f"{error.strerror or error}{':' if where else ''}{where}")


def _unexpected(error: Exception) -> int:
    import logging

    from drillcore.cli.logs import log_path

    logging.getLogger("drillcore").error("unexpected error", exc_info=error)
    first = (str(error).splitlines() or [""])[0][:300]
    return _say(f"unexpected {type(error).__name__}: {first} (details: {log_path() or 'no log'})", UNEXPECTED)
