"""A disk that can be filled: a small one in memory, or a limit on file sizes."""

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path


class Disk:
    """A folder of `size_mb` that `fill` leaves without a free byte."""

    def __init__(self, *, size_mb: int) -> None:
        self.folder = folder = Path(tempfile.mkdtemp(prefix="candor-disk-"))
        folder.chmod(0o755)  # PostgreSQL runs as another user
        command = [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={size_mb}m,mode=755",
            "candor-soak",
            str(folder),
        ]
        self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        self._ballast = folder / "ballast"
        self._limited: tuple[int, tuple[int, int]] | None = None

    def fill(self, *, writer: int) -> None:
        """Leave no room for what the process `writer` writes."""
        if not self.mounted and self._limited is None:
            largest = max(
                (file.stat().st_size for file in self.folder.iterdir() if file.is_file()),
                default=4096,
            )
            self._limited = (writer, resource.prlimit(writer, resource.RLIMIT_FSIZE))
            resource.prlimit(writer, resource.RLIMIT_FSIZE, (largest, self._limited[1][1]))
        if not self.mounted:
            return
        with self._ballast.open("ab") as ballast, contextlib.suppress(OSError):
            for piece in (2**24, 2**16, 2**12):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), piece)

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)
        if self._limited is not None:
            writer, limits = self._limited
            self._limited = None
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(writer, resource.RLIMIT_FSIZE, limits)

    def close(self) -> None:
        """Remove it with all it holds."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
