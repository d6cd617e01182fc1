#!/bin/sh
# transformers_source.sh PYTHON FOLDER: transformers' source distribution, whose tests `make test-all` runs on
# our decoder, as FOLDER/transformers-VERSION of the version that PYTHON has.
set -e
python=$1 folder=$2
version=$("$python" -c 'from importlib.metadata import version; print(version("transformers"))')
test -d "$folder/transformers-$version" && exit 0
mkdir -p "$folder"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
    --dest "$folder" "transformers==$version"
tar -xzf "$folder/transformers-$version.tar.gz" -C "$folder"
rm "$folder/transformers-$version.tar.gz"
