#!/bin/bash
# setup.sh [DIR] — brings the VM lab into DIR (default: $MEGAFLOW_LAB, else <repository>/.lab).
#
# Everything comes from Debian packages through private apt roots: the system's apt sources and
# dpkg state stay as they are, only missing build tools are installed. What DIR holds afterwards:
#
#   qemu-system-x86_64   a launcher for QEMU >= 10.1 (it has vfio-user-pci), with its own libraries
#   vmlinux, kver        the guest's kernel, uncompressed (boots fastest), and its version
#   k/                   the unpacked kernel packages: modules, headers
#   mod/*.ko             netdevsim.ko, netdevsim-accept.ko (takes flower rules), swsim.ko
#   base.cpio            the initramfs without the test binaries
#
# Each stage leaves a stamp with a hash of what it was made from and is skipped while that matches.
# MEGAFLOW_DEBIAN_MIRROR names the Debian mirror where the machine's own apt sources name none.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
LAB=$(realpath -m "${1:-${MEGAFLOW_LAB:-$here/../../.lab}}")
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say() { echo "lab: $*"; }
die() { echo "lab: error: $*" >&2; exit 1; }

retry() { # command…: up to three attempts
  local n
  for n in 1 2 3; do "$@" && return 0; [ $n = 3 ] || sleep $((n * 5)); done
  return 1
}

# The build tools: a command or file that proves each package, and the package's name.
HOST_TOOLS=$(awk '$1 == "lab" { print $3 ":" $2 }' "$here/../programs.txt")

stage_tools() {
  local missing="" pair
  for pair in $HOST_TOOLS; do has "${pair%:*}" || missing="$missing ${pair##*:}"; done
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || die "not root, and these packages are missing:$missing"
  export DEBIAN_FRONTEND=noninteractive
  local opts="-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
  # shellcheck disable=SC2086
  apt-get $opts install -y --no-install-recommends $missing ||
    { retry apt-get $opts update &&
      retry apt-get $opts install -y --no-install-recommends $missing; }
}

has() { # a path or a command
  case $1 in
  /*) [ -e "$1" ] ;;
  *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
  esac
}

# The mirror that this machine already uses, whatever the form of its sources (deb822 or classic).
mirror() {
  local codename
  [ -z "${MEGAFLOW_DEBIAN_MIRROR:-}" ] || { echo "$MEGAFLOW_DEBIAN_MIRROR"; return; }
  codename=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") ||
    die "this is not Debian: set MEGAFLOW_DEBIAN_MIRROR to a Debian mirror's address"
  apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v c="$codename" '$1 == c && $2 == "main" { print $3; exit }' | grep . ||
    die "apt's sources name no '$codename main': set MEGAFLOW_DEBIAN_MIRROR"
}

aptroot() { # name suites: a private apt with an empty status file, its indices up to date
  local r=$LAB/apt/$1 uri
  uri=$(mirror)
  mkdir -p "$r"/lists/partial "$r"/cache/archives/partial "$r"/empty.d
  : >"$r/status"
  cat >"$r/src.sources" <<X
Types: deb
URIs: $uri
Suites: $2
Components: main
Architectures: amd64
Signed-By: $KEYRING
X
  # The host's apt.conf.d stays in force: proxies are set there.
  cat >"$r/conf" <<X
Dir::Etc::sourcelist "$r/src.sources"; Dir::Etc::sourceparts "$r/empty.d";
Dir::Etc::preferencesparts "$r/empty.d"; Dir::Etc::preferences "-";
Dir::State::lists "$r/lists"; Dir::State::status "$r/status"; Dir::Cache "$r/cache";
APT::Architecture "amd64"; APT::Architectures { "amd64"; };
Acquire::Languages "none"; Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root"; APT::Keep-Downloaded-Packages "true"; Acquire::Retries "3";
Debug::NoLocking "true";
X
  export APT_CONFIG=$r/conf
  retry apt-get update -qq
}

stage_qemu() {
  local d
  aptroot qemu "trixie trixie-updates trixie-backports"
  retry apt-get install -y -qq --download-only --no-install-recommends \
    -t trixie-backports qemu-system-x86
  rm -rf "$LAB/qemu"
  mkdir -p "$LAB/qemu"
  for d in "$LAB"/apt/qemu/cache/archives/*.deb; do dpkg-deb -x "$d" "$LAB/qemu"; done
  # Started through its own dynamic linker: its libraries are newer than the host's.
  cat >"$LAB/qemu-system-x86_64" <<X
#!/bin/sh
r=$LAB/qemu
exec "\$r/usr/lib64/ld-linux-x86-64.so.2" --library-path "\$r/usr/lib/x86_64-linux-gnu" \\
  "\$r/usr/bin/qemu-system-x86_64" -L "\$r/usr/share/qemu" -L "\$r/usr/share/seabios" \\
  -L "\$r/usr/lib/ipxe/qemu" "\$@"
X
  chmod +x "$LAB/qemu-system-x86_64"
  "$LAB/qemu-system-x86_64" --version
  "$LAB/qemu-system-x86_64" -device help | grep -q vfio-user-pci ||
    die "this QEMU has no vfio-user-pci"
  rm -f "$LAB"/apt/qemu/cache/archives/*.deb
}

stage_kernel() {
  local image version kver abi series headers d
  aptroot kernel "bookworm bookworm-backports"
  # Pools drop old versions: what to take is whatever the metapackage names today.
  image=$(apt-cache show linux-image-amd64/bookworm-backports |
    sed -n 's/^Depends: *\(linux-image-[^ ]*\).*/\1/p' | head -1)
  version=$(apt-cache show linux-image-amd64/bookworm-backports |
    sed -n 's/^Version: //p' | head -1)
  [ -n "$image" ] && [ -n "$version" ] || die "bookworm-backports names no linux-image-amd64"
  kver=${image#linux-image-} abi=${image#linux-image-} abi=${abi%-amd64}
  series=$(echo "$kver" | cut -d. -f1-2)
  echo "kernel $kver $version"
  rm -rf "$LAB/debs" "$LAB/k"
  mkdir -p "$LAB/debs" "$LAB/k"
  cd "$LAB/debs"
  retry apt-get download -qq "$image=$version" "linux-headers-$kver=$version" \
    "linux-headers-$abi-common=$version" "linux-kbuild-$abi=$version" \
    "linux-source-$series=$version"
  for d in linux-image-* linux-headers-* linux-kbuild-*; do dpkg-deb -x "$d" "$LAB/k"; done
  headers=$LAB/k/usr/src/linux-headers-$kver
  sed -i "s#include /usr/src/#include $LAB/k/usr/src/#" "$headers/Makefile"
  depmod -b "$LAB/k" "$kver"
  extract_vmlinux "$LAB/k/boot/vmlinuz-$kver" "$LAB/vmlinux"
  rm -rf "$LAB/nsim-src"
  mkdir -p "$LAB/nsim-src"
  dpkg-deb --fsys-tarfile linux-source-*.deb |
    tar -xO "./usr/src/linux-source-$series.tar.xz" |
    tar -xJ -C "$LAB/nsim-src" --strip-components=3 "linux-source-$series/drivers/net/netdevsim"
  cd "$LAB"
  rm -rf "$LAB/debs"
  echo "$kver" >"$LAB/kver"
}

# The x86 boot protocol: setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c.
extract_vmlinux() { # vmlinuz out
  local sects offset length start magic
  field() { od -An -v -t "$3" -j "$2" -N "${3#u}" "$1" | tr -d ' '; }
  sects=$(field "$1" $((0x1f1)) u1) offset=$(field "$1" $((0x248)) u4)
  length=$(field "$1" $((0x24c)) u4)
  start=$(((sects + 1) * 512 + offset))
  magic=$(od -An -t x1 -j $start -N 4 "$1" | tr -d ' ')
  # The payload's last four bytes are its unpacked size.
  payload() { tail -c +$((start + 1)) "$1" | head -c $((length - 4)) || true; }
  case $magic in
  28b52ffd) payload "$1" | zstd -dc >"$2" ;;
  fd377a58) payload "$1" | xz -dc --single-stream >"$2" ;;
  *) die "vmlinuz is packed in a way that this script does not know (magic $magic)" ;;
  esac
}

build_module() { # directory under build/, name of the module, name of the result
  local kver
  kver=$(cat "$LAB/kver")
  make -s -j"$(nproc)" -C "$LAB/k/usr/src/linux-headers-$kver" M="$LAB/build/$1" \
    CONFIG_NETDEVSIM=m CONFIG_DEBUG_INFO_BTF_MODULES= modules
  mkdir -p "$LAB/mod"
  strip --strip-debug -o "$LAB/mod/$3.ko" "$LAB/build/$1/$2.ko"
}

stage_netdevsim() {
  local build=$LAB/build name accept
  for name in netdevsim netdevsim-accept; do
    rm -rf "${build:?}/$name"
    mkdir -p "$build"
    cp -r "$LAB/nsim-src/netdevsim" "$build/$name"
  done
  # As netdevsim does by itself since 7.2: every flower command succeeds and does nothing.
  accept='s#^{#{\n\tif (type == TC_SETUP_CLSFLOWER)\n\t\treturn 0;#'
  sed -i "/^nsim_setup_tc_block_cb(/,/^}/ $accept" "$build/netdevsim-accept/netdev.c"
  grep -q TC_SETUP_CLSFLOWER "$build/netdevsim-accept/netdev.c" ||
    die "netdevsim's source has no nsim_setup_tc_block_cb: the change for netdevsim-accept fails"
  build_module netdevsim netdevsim netdevsim
  build_module netdevsim-accept netdevsim netdevsim-accept
}

stage_swsim() {
  rm -rf "$LAB/build/swsim"
  mkdir -p "$LAB/build/swsim"
  cp "$here"/swsim/* "$LAB/build/swsim/"
  build_module swsim swsim swsim
}

stage_initramfs() { LAB=$LAB bash "$here/initramfs.sh"; }

hash_of() { cat "$@" | sha256sum | cut -d' ' -f1; }

stage() { # name what-it-is hash: runs a stage as a process of its own, so that `set -e` holds in it
  local name=$1 stamp=$LAB/stamps/$1 log=$LAB/log/$1.log begin=$SECONDS
  [ "$(cat "$stamp" 2>/dev/null)" != "$3" ] || return 0
  say "$2 …"
  rm -f "$stamp"
  bash "$here/setup.sh" "$LAB" "$name" >"$log" 2>&1 || {
    tail -n 15 "$log" | sed 's/^/  | /' >&2
    die "$2: failed, see $log"
  }
  echo "$3" >"$stamp"
  say "$2: done in $((SECONDS - begin)) s"
}

if [ -n "${2:-}" ]; then "stage_$2"; exit; fi

[ "$(uname -m)" = x86_64 ] || die "the lab is for x86_64, this is $(uname -m)"
has dpkg-deb && has apt-get ||
  die "apt-get and dpkg-deb are missing: the lab is made of Debian packages"
mkdir -p "$LAB/stamps" "$LAB/log"
for pair in $HOST_TOOLS; do
  has "${pair%:*}" || { rm -f "$LAB/stamps/tools"; break; }
done
exec 9>"$LAB/lock"
if has flock; then flock -w 900 9 || die "another setup has held $LAB/lock for 15 minutes"; fi
recipe() { declare -f "$@" | hash_of; }
stage tools "build tools" "$(echo "$HOST_TOOLS" | hash_of)"
stage qemu "QEMU" "$(recipe stage_qemu aptroot)"
stage kernel "kernel, headers, netdevsim's source" "$(recipe stage_kernel aptroot extract_vmlinux)"
kernel=$(cat "$LAB/stamps/kernel" "$LAB/kver")
stage netdevsim "netdevsim" "$(echo "$kernel" "$(recipe stage_netdevsim build_module)" | hash_of)"
stage swsim "swsim" "$( (
  echo "$kernel"
  recipe stage_swsim build_module
  cat "$here"/swsim/*
) | hash_of)"
stage initramfs "initramfs" "$( (
  cat "$LAB"/stamps/{netdevsim,swsim} "$here/initramfs.sh" "$here/init"
  command -v ovs-appctl tcpdump # taken along where the host has them
) | hash_of)"
