#!/usr/bin/env bash
# Fetches ONNX Runtime's shared library into .runtime/lib, where the binary looks for it.
#
#   docker/fetch-onnxruntime.sh [--gpu] [--cuda-libraries] [--into DIR]
#
#   --gpu             the build with the CUDA and TensorRT providers (x86_64)
#   --cuda-libraries  also CUDA 13 and cuDNN 9 themselves, for hosts that have none
#   --into DIR        another place than .runtime/lib of this checkout
#
# The library comes out of a Python wheel, whose hash pip checks against docker/*.txt. Needs python3 with pip and
# nothing else; does nothing when the library is already there.
set -euo pipefail

version=1.31.1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
into=$here/../.runtime/lib
variant=cpu
cuda=no
while [ $# -gt 0 ]; do
    case $1 in
        --gpu) variant=gpu ;;
        --cuda-libraries) variant=gpu cuda=yes ;;
        --into) into=${2:?--into needs a directory}; shift ;;
        *) echo "usage: $0 [--gpu] [--cuda-libraries] [--into DIR]" >&2; exit 2 ;;
    esac
    shift
done

python=${PYTHON:-python3}
arch=$(uname -m)
case $(uname -s)-$arch in
    Linux-x86_64 | Linux-aarch64) ;;
    Linux-arm64) arch=aarch64 ;;
    *)
        echo "no ready-made library for $(uname -s) on $arch: install ONNX Runtime $version and name it with" \
            "ORT_DYLIB_PATH" >&2
        exit 1
        ;;
esac
if [ $variant = gpu ] && [ "$arch" != x86_64 ]; then
    echo "the GPU build exists for x86_64 only" >&2
    exit 1
fi
if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "$python with pip is needed (Debian: apt-get install python3-pip)" >&2
    exit 1
fi

mkdir -p "$into"
into=$(cd "$into" && pwd)
work=$(mktemp -d "$into/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

# wheels FILE: downloads what the requirements file names, for this machine and no Python version in particular.
wheels() {
    local platforms=()
    for glibc in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux_2_12 manylinux2010 \
        manylinux_2_5 manylinux1; do
        platforms+=(--platform "${glibc}_$arch")
    done
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --only-binary=:all: --python-version 3.12 --implementation cp --abi cp312 --abi none "${platforms[@]}" \
        --dest "$work/wheels" --requirement "$here/$1"
}

# unpack PATTERN: takes the shared libraries whose path matches out of the wheels, and drops the wheels.
unpack() {
    "$python" - "$work" "$into" "$1" <<'PYTHON'
import os, pathlib, re, shutil, sys, zipfile

work, into, pattern = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), re.compile(sys.argv[3])
for wheel in sorted((work / "wheels").glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not pattern.search(name):
                continue
            part = work / "part"
            with archive.open(name) as source, part.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            part.chmod(0o755)
            # A rename, so that a half-written library is never found.
            os.replace(part, into / pathlib.PurePosixPath(name).name)
    wheel.unlink()
PYTHON
}

stamp=$into/.variant
library=$into/libonnxruntime.so.$version
have=$(cat "$stamp" 2>/dev/null || true)
# The GPU build runs on CPUs as well, so it is not replaced by the CPU build.
if [ -f "$library" ] && { [ "$have" = "$version-$variant" ] || [ "$have" = "$version-gpu" ]; }; then
    echo "ONNX Runtime $version is in $into"
else
    echo "fetching ONNX Runtime $version ($variant) ..."
    if [ $variant = gpu ]; then wheels onnxruntime-gpu.txt; else wheels onnxruntime.txt; fi
    unpack '/capi/libonnxruntime[^/]*\.so[^/]*$'
    [ -f "$library" ] || { echo "the wheel held no libonnxruntime.so.$version" >&2; exit 1; }
    echo "$version-$variant" >"$stamp"
    echo "ONNX Runtime $version ($variant) is in $into"
fi

if [ $cuda = yes ] && [ ! -f "$into/.cuda" ]; then
    echo "fetching CUDA 13 and cuDNN 9 (about 1.5 GB) ..."
    wheels cuda-libraries.txt
    unpack '/lib/[^/]*\.so[^/]*$'
    touch "$into/.cuda"
    echo "CUDA libraries are in $into; start the server with LD_LIBRARY_PATH=$into"
fi
