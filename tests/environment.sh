#!/bin/sh
# environment.sh SHARED FOLDER PYTHON PACKAGE...: an environment of PYTHON with the packages. It sees the
# libraries of the Python SHARED where both are of one version.
set -e
shared=$1 folder=$2 python=$3
shift 3
command -v "$python" > /dev/null || { echo "$*: there is no $python here, left out"; exit 0; }
echo "$*"
"$python" -m venv "$folder"
place='import site; print(site.getsitepackages()[0])'
from=$("$shared" -c "$place") to=$("$folder/bin/python" -c "$place")
version() { basename "$(dirname "$1")"; }
test "$(version "$from")" != "$(version "$to")" ||
    echo "import site; site.addsitedir('$from')" > "$to/zz_dvse.pth"  # with what is installed to be edited
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
