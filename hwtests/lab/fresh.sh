#!/bin/bash
# fresh.sh DIR COMMAND… — runs a command in a clone of this repository on a Debian that holds nothing else.
#
# DIR becomes the root of that Debian: debootstrap's minimal base, the packages that the README asks
# for, and the machine's package settings and Rust toolchain. Nothing of the machine's own /usr is
# seen. The clone is of what is committed. The lab's downloads are shared ($MEGAFLOW_LAB, else .lab),
# what is built from them is not. DIR.base is what debootstrap made; DIR is a new copy of it in each
# run, so that nothing is there because an earlier run installed it.
set -euo pipefail

project=$(realpath "$(dirname "$(realpath "$0")")/../..")
root=$(realpath -m "$1")
shift
die() { echo "fresh: error: $*" >&2; exit 1; }
remove() { # directory: goes, unless somebody else made it
  [ ! -e "$1" ] || [ -e "$1/.made" ] || die "$1 is there and not from here: remove it or name another"
  rm -rf --one-file-system "$1"
}
[ "$(id -u)" = 0 ] || die "not root: a Debian of its own needs mount namespaces and device files"

# The packages of the README's list of what has to be there; Rust comes from rustup.
packages=$(awk '$1 == "readme" && $2 != "rustup" { print $2 }' "$project/hwtests/programs.txt" | sort -u | tr '\n' ,)

# A base with other packages than the README asks for today is made anew.
base=$root.base
if [ "$(cat "$base/.made" 2>/dev/null)" != "$packages" ]; then
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") ||
    die "this is not Debian: which one to make is not known"
  mirror=${MEGAFLOW_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' \
    'Created-By: Packages' | awk -v c="$codename" '$1 == c && $2 == "main" { print $3; exit }')}
  [ -n "$mirror" ] || die "apt's sources name no '$codename main': set MEGAFLOW_DEBIAN_MIRROR"
  remove "$base"
  mkdir -p "$base"
  touch "$base/.made"
  PATH=$PATH:/usr/sbin debootstrap --variant=minbase --include="${packages%,}" "$codename" "$base" "$mirror" >"$base.log" 2>&1 ||
    { tail -n 15 "$base.log" >&2; die "debootstrap failed, see $base.log"; }
  echo "$packages" >"$base/.made"
fi

remove "$root"
mkdir -p "$root"
touch "$root/.made"
cp -a --reflink=auto "$base/." "$root/"
# How this machine reaches the mirror: proxies, certificates.
{ grep -lE 'Acquire' -r /etc/apt/apt.conf.d || true; } | while read -r file; do cp "$file" "$root/etc/apt/apt.conf.d/"; done
cp -a /etc/ssl/certs/. "$root/etc/ssl/certs/"
cp /etc/resolv.conf /etc/hosts "$root/etc/"

lab=$(realpath -m "${MEGAFLOW_LAB:-$project/.lab}")
mkdir -p "$lab/apt" "$root/root/.cargo" "$root/root/.rustup" "$root/work" "$root/old" "$root/lab/apt"
git clone --quiet "$project" "$root/work/megaflow"

# A root of its own and not a chroot, which may make no user namespaces. All ends with the shell.
exec unshare --mount --pid --fork --kill-child bash -euc '
  root=$1 lab=$2 cargo=$3 rustup=$4
  shift 4
  mount --bind "$root" "$root"
  mount --make-private "$root"
  mount --rbind /dev "$root/dev"
  mount --rbind /sys "$root/sys"
  mount -t proc proc "$root/proc"
  mount -t tmpfs tmpfs "$root/run"
  mount --bind "$lab/apt" "$root/lab/apt"
  mount --bind "$cargo" "$root/root/.cargo"
  mount --bind "$rustup" "$root/root/.rustup"
  cd "$root"
  pivot_root . old
  umount -l /old
  cd /work/megaflow
  settings=$(env | grep -E "^(CARGO_(HTTP|NET|REGISTR|SOURCE)|RUSTUP_TOOLCHAIN|SSL_|[a-z]*_proxy|[A-Z]*_PROXY)[^=]*=[^ ]*$" || true)
  # shellcheck disable=SC2086
  exec env -i HOME=/root TERM=dumb MEGAFLOW_LAB=/lab MEGAFLOW_FRESH=yes $settings \
    PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -c "$*"
' _ "$root" "$lab" "${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}" "$@"
