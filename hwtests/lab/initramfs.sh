#!/bin/bash
# initramfs.sh — makes $LAB/base.cpio: tools, modules and init, but not the test binaries. Those
# change with every build and are appended as a second archive by the harness. Called by setup.sh.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
KVER=$(cat "$LAB/kver")
R=$(mktemp -d)
trap 'rm -rf "$R"' EXIT
export PATH=$PATH:/usr/sbin:/sbin

# Missing ones are left out of the list below only if they come with no Debian host.
TOOLS="dash ip tc devlink bridge ethtool ping"
OPTIONAL_TOOLS="ovs-appctl tcpdump"
MODULES="
cls_flower cls_matchall cls_basic cls_u32 sch_ingress act_mirred act_gact act_vlan act_pedit
act_csum act_mpls act_tunnel_key act_police act_sample act_skbedit act_ct
veth dummy vxlan geneve ip_gre bridge 8021q tun af_packet crc32c_generic libcrc32c mpls_router
openvswitch vfio vfio-pci vfio_iommu_type1 9p 9pnet_virtio virtio_pci psample
"

mkdir -p "$R"/{bin,sbin,etc,proc,sys,dev,tmp,run/netns,root,t,lib/modules/$KVER/kernel}
cp /bin/busybox "$R/bin/busybox"
for applet in $(/bin/busybox --list); do
  [ "$applet" = busybox ] || ln -s busybox "$R/bin/$applet"
done

copy_tool() { # path: the program and the libraries it loads
  local lib
  rm -f "$R/bin/$(basename "$1")"
  install -m755 "$(realpath "$1")" "$R/bin/$(basename "$1")"
  for lib in $(ldd "$1" 2>/dev/null | grep -oE '/[^ ]+\.so[^ ]*' || true); do
    [ -e "$R$lib" ] || install -D "$lib" "$R$lib"
  done
}
for tool in $TOOLS; do
  path=$(command -v "$tool") || { echo "$tool is missing" >&2; exit 1; }
  copy_tool "$path"
done
for tool in $OPTIONAL_TOOLS; do
  if path=$(command -v "$tool"); then copy_tool "$path"; fi
done
ln -sf dash "$R/bin/sh" # busybox's shell would run its own ip and tc ahead of PATH
ln -s ../bin/busybox "$R/sbin/modprobe" # the kernel calls it by this path to load what it lacks

# Modules unpacked here: unpacking them in the emulated machine would take longer.
for module in $MODULES; do
  modprobe -d "$LAB/k" -S "$KVER" --show-depends "$module" | awk '/^insmod/ { print $2 }'
done | sort -u | while read -r file; do
  name=$(basename "$file")
  case $name in
  *.xz) xz -dc "$file" >"$R/lib/modules/$KVER/kernel/${name%.xz}" ;;
  *.zst) zstd -dcq "$file" >"$R/lib/modules/$KVER/kernel/${name%.zst}" ;;
  *) cp "$file" "$R/lib/modules/$KVER/kernel/$name" ;;
  esac
done
# The second netdevsim has the same module name: it lives apart and is loaded by path.
cp "$LAB"/mod/{netdevsim,swsim}.ko "$R/lib/modules/$KVER/kernel/"
cp "$LAB/mod/netdevsim-accept.ko" "$R/root/"
strip --strip-debug "$R/lib/modules/$KVER"/kernel/*.ko
cp "$LAB/k/lib/modules/$KVER"/modules.builtin* "$LAB/k/lib/modules/$KVER/modules.order" \
  "$R/lib/modules/$KVER/"
depmod -b "$R" "$KVER"
install -m755 "$here/init" "$R/init"
(cd "$R" && find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible) >"$LAB/base.cpio"
du -h "$LAB/base.cpio"
