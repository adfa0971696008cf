#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the image: Python, the sandbox's programs, the kit's packages.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
kit=/autograder/source/kit

apt-get update
apt-get install -y bubblewrap libseccomp2
for python in python3.11 python3.12 python3.13; do  # the first is what constraints.txt was tested with
    apt-get install -y "$python" "$python-venv" && break
done
"$python" -m venv /opt/unetlab
pip=(/opt/unetlab/bin/pip install --no-cache-dir -c "$kit/constraints.txt")
torch_index=@TORCH_INDEX@
if [ -n "$torch_index" ]; then  # builds without CUDA, a tenth of the size
    "${pip[@]}" --index-url "$torch_index" --no-deps torch torchvision
fi
"${pip[@]}" "$kit[grade]"
/opt/unetlab/bin/pip uninstall -y unetlab  # only its packages were wanted: the kit itself is run where it lies
chmod -R go= "$kit/solutions"
cd "$kit"  # only hints depend on it, so a failure here stops nothing
XDG_CACHE_HOME=/var/cache/unetlab OMP_NUM_THREADS=1 /opt/unetlab/bin/python -m grader.gradescope --prepare @OPTIONS@ || true
