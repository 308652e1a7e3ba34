"""Generate `t2i/protocol/` from the `.proto` files: messages, services, and their type stubs.

    python protos/generate.py                # write t2i/protocol/
    python protos/generate.py --out FOLDER   # write elsewhere, to compare
    python protos/generate.py --release     # accept the present protocol as released

`buf breaking` compares with `protos/released.binpb`, the protocol as last released; `--release`
rewrites it, which is a decision and not a repair.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
PACKAGE = PROTOS.parent / "t2i" / "protocol"
# protoc names Python modules after the proto package, t2i.v1; in this repository that package
# lives at t2i.protocol.v1, and only import lines have to know.
IMPORT = re.compile(r"^((?:from|import) )t2i\.v1\b", re.MULTILINE)
NAMES = re.compile(r"\bt2i\.v1\.(\w+_pb2)\b")
INIT = '"""Generated from protos/ by protos/generate.py; not edited by hand."""\n'


def generate(out: Path) -> None:
    """Write the package of generated code into the folder `out`, replacing what is there.

    Raises:
        SystemExit: protoc refused a file; its message is on stderr.
    """
    sources = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.glob("t2i/v1/*.proto"))
    plugins = [_plugin("protoc-gen-mypy"), _plugin("protoc-gen-mypy_grpc")]
    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            "protoc",
            *[f"--plugin={p.name}={p}" for p in plugins],
            f"--proto_path={PROTOS}",
            f"--proto_path={Path(grpc_tools.__file__).parent / '_proto'}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            f"--mypy_out=readable_stubs:{folder}",
            f"--mypy_grpc_out=readable_stubs:{folder}",
        ]
        if protoc.main([*arguments, *sources]) != 0:
            raise SystemExit("protoc refused the files above; nothing was written")
        shutil.rmtree(out, ignore_errors=True)
        (out / "v1").mkdir(parents=True)
        (out / "__init__.py").write_text(INIT)
        (out / "v1" / "__init__.py").write_text(INIT)
        for file in sorted(Path(folder, "t2i", "v1").iterdir()):
            text = IMPORT.sub(r"\1t2i.protocol.v1", file.read_text())
            if file.suffix == ".pyi":
                text = NAMES.sub(r"t2i.protocol.v1.\1", text)
            (out / "v1" / file.name).write_text(text)


def write_release() -> None:
    """Write `protos/released.binpb` from the present `.proto` files with buf."""
    buf = shutil.which("buf") or str(Path(sys.executable).parent / "buf")
    command = [buf, "build", "--exclude-source-info", "-o", "released.binpb"]
    subprocess.run(command, cwd=PROTOS, check=True)


def _plugin(name: str) -> Path:
    """Return the path of a protoc plugin: beside this Python, or else on the search path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is missing; install the dev extra: pip install -e '.[dev]'")
    return Path(found)


def main() -> None:
    """Read the command line and write what it asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=PACKAGE, help="folder to write (t2i/protocol)")
    parser.add_argument("--release", action="store_true", help="rewrite released.binpb instead")
    options = parser.parse_args()
    if options.release:
        write_release()
    else:
        generate(options.out)


if __name__ == "__main__":
    main()
