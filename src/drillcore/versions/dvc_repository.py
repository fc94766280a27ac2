"""DVC's repository, and what is done to it. Importing DVC takes seconds: only `repository.opened` imports this."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.fs import LocalFileSystem
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc.scm import NoSCM
from dvc.stage import Stage
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_objects.errors import ObjectFormatError

from drillcore.errors import DataError

__all__ = ["DvcException", "LockError", "ObjectFormatError", "Repository"]


class Repository(Repo):
    """A checkout's repository, without source control.

    drillcore stores data.dvc with each model itself, and an ignore rule that DVC would add to .gitignore would make
    every checkout differ from its commit.

    Args:
        root: of the checkout.
        site: DVC's site cache.
    """

    def __init__(self, root: Path, site: str) -> None:
        super().__init__(str(root), scm=NoSCM(str(root)), config={"core": {"site_cache_dir": site}})

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Hold DVC's own lock."""
        lock: contextlib.AbstractContextManager[None] = lock_repo(self)
        return lock

    def describe(self, stage: Stage, md5: str, *, files: int, size: int | None) -> None:
        """Write to a stage's file which version its output is, and that this is what came from the landing zone.

        Args:
            stage: of data.dvc.
            md5: names the version's listing, which the cache has; ends in ".dir".
            files: in the version.
            size: their bytes, None where it is not known.
        """
        out, dep = stage.outs[0], stage.deps[0]
        # A data.dvc that names no version does not say which kind of MD5 it has.
        out.update_legacy_hash_name(force=True)
        out.hash_info, out.meta, out.obj = HashInfo("md5", md5), Meta(size=size, nfiles=files, isdir=True), None
        dep.hash_info, dep.meta = out.hash_info, out.meta
        stage.md5 = stage.compute_md5()
        stage.dump()

    def remote_folder(self) -> Path | None:
        """Return where the remote keeps its objects if it is a folder of this machine that DVC keeps like its cache."""
        remote = self.cloud.get_remote()
        if not isinstance(remote.fs, LocalFileSystem) or remote.worktree:
            return None
        return Path(remote.odb.path)

    def pull_objects(self, digests: Iterable[str]) -> None:
        """Bring objects from the remote to the cache by their MD5."""
        self.cloud.pull([HashInfo("md5", md5) for md5 in digests])

    def in_remote(self, digests: Iterable[str]) -> set[str]:
        """Return the objects of some MD5 that the remote has. Raises DataError where it is not there."""
        odb = self._remote_store()
        return {md5 for md5 in digests if odb.fs.exists(odb.oid_to_path(md5))}

    def remove_from_remote(self, digests: Iterable[str]) -> None:
        """Remove objects from the remote by their MD5. Raises as `in_remote`, OSError, DvcException."""
        odb = self._remote_store()
        for md5 in self.in_remote(digests):
            odb.fs.remove(odb.oid_to_path(md5))

    def _remote_store(self) -> HashFileDB:
        odb: HashFileDB = self.cloud.get_remote().odb
        # Of a folder that is not mounted, nothing is there: that says nothing of the objects.
        if not odb.fs.exists(odb.path):
            raise DataError(
                "the DVC remote is not there, or nothing was ever pushed to it (a folder that is not mounted?); bring "
                "it back (drillcore doctor asks it), then run this again"
            )
        return odb
