#!/usr/bin/env bash
# Makes .venv with everything that Likert needs: ./scripts/install.sh cpu|gpu
set -euo pipefail
flavour=${1:?usage: scripts/install.sh cpu|gpu}
venv=.venv

find_python() {
  for candidate in python3.11 python3 python; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
      command -v "$candidate"
      return
    fi
  done
  echo "Likert needs Python 3.11 (the processor build of vLLM exists for no other). Install python3.11 and its venv module." >&2
  exit 1
}

# Frames are drawn with EGL or OSMesa. Either is enough; EGL without a driver package is not.
install_opengl() {
  local command="apt-get install -y --no-install-recommends libegl1 libgl1 libgl1-mesa-dri libosmesa6"
  local libraries
  libraries=$(ldconfig -p)
  if grep -q 'libOSMesa\.so' <<<"$libraries"; then return; fi
  if grep -q 'libEGL_nvidia\.so' <<<"$libraries" && grep -q 'libEGL\.so' <<<"$libraries"; then return; fi
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing the OpenGL libraries for headless rendering"
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive $command -qq) >/dev/null
  else
    echo "Frames need an OpenGL library. Please run:  sudo $command" >&2
  fi
}

install_opengl
[ -x "$venv/bin/python" ] || "$(find_python)" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
# The lists are complete, so nothing is resolved: quick, repeatable, and unwanted packages stay out.
install=("${pip[@]}" install --quiet --no-deps --no-compile)

if [ "$flavour" = cpu ]; then
  torch=$(grep '^torch==' requirements/cpu.txt)
  echo "Installing $torch"
  "${install[@]}" "$torch" 2>/dev/null ||
    "${install[@]}" --index-url https://download.pytorch.org/whl/cpu "$torch"
fi
echo "Installing $(wc -l <"requirements/$flavour.txt") packages; this takes some minutes"
"${install[@]}" -r "requirements/$flavour.txt"
"${install[@]}" --no-build-isolation -e .
