"""Builds the image without a container engine: buildah in chroot isolation, on a base that debootstrap makes.

The official base cannot be pulled everywhere, so a Debian of the same release, with Debian's own Python, stands in for
it under its name. Certificates and pip's settings of this machine go into the stand-in, and nowhere else.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
RELEASE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"


def base_name() -> str:
    """Return the image that the Dockerfile begins with."""
    found = re.search(r"^FROM (\S+) AS base$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    assert found is not None
    return found[1]


def settings() -> list[tuple[str, str]]:
    """Return pip's settings on this machine."""
    said = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^global\.([\w-]+)='(.*)'$", said, flags=re.MULTILINE)


@dataclass(frozen=True)
class Buildah:
    """buildah with a storage of its own.

    Args:
        folder: Holds the storage; may be removed afterwards.
    """

    folder: Path

    def __call__(self, *arguments: str, timeout: float = 3600) -> str:
        """Run buildah and return what it prints."""
        command = ["buildah", "--root", f"{self.folder}/storage", "--runroot", f"{self.folder}/run"]
        command += ["--storage-driver", "vfs", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def make_base(self) -> None:
        """Make the stand-in for the official base, under its name."""
        system = self.folder / "system"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(system)]
        subprocess.run(command, check=True, capture_output=True, timeout=1200)
        (system / "usr" / "bin" / "python").symlink_to("python3")
        (system / "etc" / "pip.conf").write_text(
            "[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings())
        )
        for value in [value for _, value in settings() if Path(value).is_file()]:  # certificates, constraints
            target = system / Path(value).relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(value, target)
        container = self("from", "scratch").strip()
        self("add", container, str(system), "/")
        self("commit", "--format", "docker", "--rm", container, f"docker.io/library/{base_name()}")
        shutil.rmtree(system)

    def build(self, target: str, name: str) -> None:
        """Build a target of the Dockerfile; pip may use the folders of packages that this machine's settings name."""
        named = " ".join(value for _, value in settings()).replace("file://", "").split()
        # A local index lies beside the files that it links to.
        places = {Path(place).parent if place.endswith("/simple") else Path(place) for place in named}
        folders = sorted(str(place) for place in places if place.is_dir())
        mounts = [option for place in folders for option in ("--volume", f"{place}:{place}:ro")]
        self(
            "bud", "--isolation", "chroot", "--pull-never", "--format", "docker", *mounts,
            "--target", target, "--tag", name, "--file", str(DOCKERFILE), str(ROOT),
        )  # fmt: skip
