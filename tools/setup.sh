#!/usr/bin/env bash
# Install what flowd needs to run or to be tested: Debian packages, uv, and the locked environment.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-run}
uv_version=0.13.8
run_packages=(python3-venv python3-bpfcc iproute2 nftables openssl procps)
test_packages=(bpftool conntrack ethtool gcc iptables libc6-dev git)
test_programs=(prometheus nginx) # unpacked, not installed: the packages would start services

say() { echo "==> $*" >&2; }

stamp=".tools/setup-$purpose"
if [ -e "$stamp" ] && [ "$stamp" -nt uv.lock ] && [ "$stamp" -nt pyproject.toml ] &&
  [ "$stamp" -nt tools/setup.sh ] && [ -x .venv/bin/flowd ]; then
  exit 0
fi
mkdir -p .tools

packages=("${run_packages[@]}")
[ "$purpose" = test ] && packages+=("${test_packages[@]}")
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    say "not a Debian system; please install what these packages hold: ${missing[*]}"
  elif [ "$(id -u)" = 0 ]; then
    say "installing ${missing[*]}"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >.tools/apt.log 2>&1 ||
      { cat .tools/apt.log >&2; exit 1; }
  else
    say "not root, so these Debian packages stay missing: ${missing[*]}"
  fi
fi

if [ "$purpose" = test ]; then
  for program in "${test_programs[@]}"; do
    if ! command -v "$program" >/dev/null && command -v apt-get >/dev/null; then
      say "unpacking $program"
      [ "$(id -u)" = 0 ] && apt-get -qq update
      mkdir -p .tools/debian
      (cd .tools/debian && apt-get -qq download "$program" >/dev/null 2>&1 && dpkg -x "$program"_*.deb . && rm -f "$program"_*.deb) ||
        say "$program cannot be had; its tests will be skipped"
    fi
  done
fi

uv=.tools/uv/bin/uv
if [ ! -x $uv ] || [ "$($uv --version 2>/dev/null | cut -d' ' -f2)" != $uv_version ]; then
  say "installing uv $uv_version"
  "$PYTHON" -m venv --clear .tools/uv || { say "python3-venv is missing: apt-get install python3-venv"; exit 4; }
  .tools/uv/bin/pip install -q --disable-pip-version-check "uv==$uv_version"
fi

groups=(--group demo)
[ "$purpose" = test ] && groups=(--all-groups)
# --inexact: `make run` must not remove what `make test` installed
say "installing the locked environment"
UV_PROJECT_ENVIRONMENT=.venv $uv sync -q --frozen --inexact --all-extras --no-default-groups "${groups[@]}" --python "$PYTHON"
touch "$stamp"
