#!/bin/bash
# test.sh [LANE…] — every test of the project, the VM lane included; `test.sh --list` names the lanes.
#
# Installs what a test needs (Debian packages by name, nothing is started) and prints how long each
# lane took. A lane that can't run fails: nothing is skipped here.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"

# The lanes of a whole run. `fresh` stands for `unit` there: it runs the same tests, on a Debian that has nothing else.
LANES="tools format lint docs fresh demo unprivileged guide count fuzz vm"
# In the Debian that `fresh` makes, all that it does not run itself.
[ -z "${MEGAFLOW_FRESH:-}" ] || LANES="tools format lint unit docs demo unprivileged guide count fuzz vm"
OTHERS="unit"

# The programs that tests start and the packages that bring them: hwtests/programs.txt.
lane_tools() {
  local missing="" package program
  while read -r package program; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing="$missing $package"
  done < <(awk '$1 == "tests" { print $2, $3 }' hwtests/programs.txt)
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || { echo "test: error: not root, and these packages are missing:$missing" >&2; return 1; }
  # RUNLEVEL=1: invoke-rc.d then starts none of the services that come with the packages.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  local opts="-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
  # shellcheck disable=SC2086
  apt-get $opts update -qq && apt-get $opts install -y -qq --no-install-recommends $missing
}

# In a whole run what is installed and the tests that start it; `./test.sh fresh` alone: the README's commands.
lane_fresh() {
  local root=target/fresh
  [ -n "$whole" ] && set -- "./test.sh tools unit" || set -- "$(commands README.md | paste -sd ';')"
  hwtests/lab/fresh.sh "$root" "set -e; $1"
}

lane_format() { cargo fmt --all --check; }
lane_lint() { cargo clippy --workspace --all-targets --quiet -- -D warnings; }
lane_unit() { cargo test --workspace --quiet --no-fail-fast; }
lane_docs() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet; }

# The commands of a page, those that are marked as such.
commands() { awk '/^```sh$/ { on = 1; next } /^```/ { on = 0 } on' "$1"; }

# The README's first command, and the same with a fault in the accounting, which it must find.
lane_demo() {
  [ "$(commands README.md)" = $'cargo run --release -- demo\n./test.sh' ] ||
    { echo "test: error: the README has commands that nobody runs" >&2; return 1; }
  cargo run --release -- demo
  local out status=0
  out=$(target/release/megaflow demo --fault drop-counter-update 2>&1) || status=$?
  [ "$status" = 1 ] || { echo "test: error: the demo with a fault ended with $status, not 1" >&2; return 1; }
  grep 'does not add up' <<<"$out"
}

# The demo without root, in a user namespace of its own.
lane_unprivileged() {
  local dir
  dir=$(mktemp -d)
  # shellcheck disable=SC2064  # at the end `dir` is out of scope
  trap "rm -r '$dir'" EXIT
  install -m 755 target/release/megaflow "$dir/megaflow"
  chmod 755 "$dir"
  runuser -u nobody -- "$dir/megaflow" demo --seconds 5
}

# The commands of each page of docs/how-to/ and of the page of benchmarks, from its first to its last, in namespaces of their own:
# what a page that fails has started ends with it.
lane_guide() {
  cargo build --release --quiet -p megaflow
  local page
  for page in docs/how-to/*.md docs/benchmarks.md; do
    [ -n "$(commands "$page")" ] || continue
    echo "-- $page"
    unshare --net --mount --pid --fork --mount-proc --kill-child bash -euo pipefail -c '
      mount -t tmpfs tmpfs /run
      ip link set lo up
      set -x
      '"$(commands "$page")" </dev/null
  done
}

# The instructions of packets, beside those that were recorded.
lane_count() {
  cargo build --release --quiet -p megaflow
  target/release/megaflow bench instructions --check
}

lane_fuzz() { MEGAFLOW_FUZZ_PACKETS=10000000 cargo test --quiet -p megaflow-flow --test fuzz_parser; }
lane_vm() { cargo build --release --quiet -p megaflow-hwtests -p megaflow && target/release/megaflow-hwtests; }

[ "${1:-}" != --list ] || { tr ' ' '\n' <<<"$LANES $OTHERS" | sort -u; exit; }
[ $# = 0 ] && whole=yes || whole=""
times="" failed=""
trap 'exit 130' INT
for lane in ${*:-$LANES}; do
  declare -F "lane_$lane" >/dev/null || { echo "test: error: no lane '$lane' (see --list)" >&2; exit 2; }
  echo "== $lane"
  begin=$SECONDS
  # Not as the left side of `||`: there bash would go on behind a command that fails.
  set +e
  (set -e; "lane_$lane")
  status=$?
  set -e
  times="$times $lane $((SECONDS - begin))s"
  [ "$status" = 0 ] || { failed="$failed $lane"; echo "== $lane failed after $((SECONDS - begin)) s" >&2; }
done
[ -z "$failed" ] || { echo "test: error: failed:$failed (times:$times)" >&2; exit 1; }
echo "== all passed:$times"
