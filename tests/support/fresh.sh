#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fresh.sh: ./dev run and ./dev test on a minimal Debian 12 that this script makes in a scratch folder and removes.
#
# What comes in from here: the committed tree (git clone), the addresses of apt's mirrors, the resolver. Nothing is
# bound in. Runs as root. In namespaces of its own where the kernel lets it, so that whatever happens nothing stays
# mounted or running; without them it mounts nothing, and ends what it started itself.
# Ends with the count line of ./dev test; exits 0 only when both commands did what they promise.
set -eu

if [ "$(id -u)" != 0 ]; then
    exec sudo sh "$0" "$@"
fi
if [ -z "${PIRN_FRESH_INSIDE:-}" ] && unshare --mount --pid --fork --mount-proc true 2>/dev/null; then
    export PIRN_FRESH_INSIDE=namespaces
    exec unshare --mount --pid --fork --kill-child --mount-proc sh "$0" "$@"
fi

source_tree=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/pirn-fresh.XXXXXX")
root=$scratch/root
server=''

clean_up() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
    fi
    if [ "${PIRN_FRESH_INSIDE:-}" = namespaces ]; then
        for mounted in dev/shm dev/pts proc; do
            umount -l "$root/$mounted" 2>/dev/null || true
        done
    fi
    rm -rf --one-file-system "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say() {
    printf '+ %s\n' "$*" >&2
}

fail() {
    echo "fresh: $*" >&2
    exit 1
}

# The mirrors of bookworm that this machine's apt uses, as sources.list lines; Debian's own when it uses others.
sources() {
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
        sed -n 's|^\([^ ]*\) \(bookworm[^ ]*\) main Debian$|deb \1 \2 main|p' | sort -u >"$scratch/sources"
    grep -q ' bookworm main$' "$scratch/sources" || cat <<END >"$scratch/sources"
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
END
}

make_root() {
    sources
    mirror=$(sed -n 's/^deb \([^ ]*\) bookworm main$/\1/p' "$scratch/sources" | head -n 1)
    include=''
    case $mirror in https:*) include=--include=ca-certificates ;; esac
    say debootstrap --variant=minbase $include bookworm "$root" "$mirror"
    # shellcheck disable=SC2086 # no argument rather than an empty one
    debootstrap --variant=minbase $include bookworm "$root" "$mirror" >"$scratch/debootstrap.log" 2>&1 ||
        { tail -n 20 "$scratch/debootstrap.log" >&2; fail "debootstrap failed"; }
    cp "$scratch/sources" "$root/etc/apt/sources.list"
    apt-config dump | grep -iE '^Acquire::(https?|ftp)::[^ ]*(proxy|verify|ca)' \
        >"$root/etc/apt/apt.conf.d/99mirror" || true
    cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
    # An installer or container would have written this; debootstrap alone leaves a machine that does not know itself.
    [ -e "$root/etc/hosts" ] || printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
    if [ "${PIRN_FRESH_INSIDE:-}" = namespaces ]; then
        mount -t proc proc "$root/proc"
        mkdir -p "$root/dev/shm" "$root/dev/pts"
        mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    else
        echo "fresh: no namespaces here: nothing is mounted in the scratch root, tests that read /proc will fail" >&2
        mkdir -p "$root/dev/shm" && chmod 1777 "$root/dev/shm"
    fi
    if [ -n "$(git -C "$source_tree" status --porcelain 2>/dev/null)" ]; then
        echo "fresh: uncommitted changes are not part of this run" >&2
    fi
    say git clone "$source_tree" "$root/root/pirn"
    git -c safe.directory='*' clone -q "$source_tree" "$root/root/pirn"
}

# Become a command in the root, with an environment that has nothing of ours.
become() {
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        chroot "$root" sh -c "cd /root/pirn && exec $1"
}

# ./dev run serves a page, and SIGTERM ends it with status 0.
check_run() {
    say "(in the fresh root) ./dev run --listen 127.0.0.1:0"
    become './dev run --listen 127.0.0.1:0' >"$scratch/run.out" 2>"$scratch/run.err" &
    server=$!
    waited=0
    while ! grep -q '^listening on ' "$scratch/run.out"; do
        kill -0 "$server" 2>/dev/null || { tail -n 30 "$scratch/run.err" >&2; fail "./dev run ended before it served"; }
        [ $waited -lt 1200 ] || fail "./dev run did not serve within 20 minutes"
        sleep 1
        waited=$((waited + 1))
    done
    address=$(sed -n 's/^listening on //p' "$scratch/run.out" | head -n 1)
    page=$(curl -sf --max-time 20 "$address/") || fail "no page from $address/"
    case $page in
    *'QUERY 3:'*) echo "fresh: ./dev run serves $address/ after $waited s" ;;
    *) fail "the page of $address/ has no QUERY 3" ;;
    esac
    kill -TERM "$server"
    status=0
    wait "$server" || status=$?
    server=''
    [ $status -eq 0 ] || fail "pirn-web ended with status $status after SIGTERM"
}

make_root
check_run
say "(in the fresh root) ./dev test"
{
    (become './dev test') 2>&1 && status=0 || status=$?
    echo $status >"$scratch/test.status"
} | tee "$scratch/test.out" |
    grep --line-buffered -E '^(\+|==|skipped:|FAILED:)|, [0-9]+ failed|^ *(not ok|skip) ' || true
status=$(cat "$scratch/test.status")
# grep has printed the count line as the last of its lines.
tail -n 1 "$scratch/test.out" | grep -Eq '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' ||
    { tail -n 60 "$scratch/test.out" >&2; fail "./dev test did not end with its count"; }
exit $status
