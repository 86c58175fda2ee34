#!/bin/sh
# Build both images of docker/ without an engine, and run them as their own user. `make images` calls this.
#
# Debian's buildah builds the Dockerfiles as they are, under chroot isolation; the image that they begin FROM is
# made here from Debian's packages. Needs root, buildah, mmdebstrap, some minutes and, until it ends, 6 GB of memory,
# or of disk where there is less. A machine that does not let them do this is told of in a line, and is no failure; an
# image that does not build or run is one.
set -eu
cd "$(dirname "$0")/.."
work=$PWD/.venv/images
wheels=$PWD/.venv/wheels  # where set-up puts the CPU build of torch, if there is one
from=docker.io/library/python:3.11-slim-bookworm
export BUILDAH_ISOLATION=chroot

say() { echo "images: $*"; }
untested() { echo "NOT TESTED HERE: the images of docker/: $*"; exit 0; }

# All of it in namespaces of its own, so that its mounts and its servers end when it does, however that is. What it
# prints comes out whole, for tests run beside it.
if [ "${1:-}" != inside ]; then
	for program in buildah mmdebstrap setpriv unshare; do
		command -v $program > /dev/null || untested "there is no $program"
	done
	apart="unshare --mount --pid --fork --kill-child --mount-proc"
	$apart true 2> /dev/null || untested "no namespaces for mounts and processes (is this root?)"
	rm -rf "$work"
	mkdir -p "$work" "$wheels"
	say "building and running those of docker/, some minutes; what came of it follows then"
	status=0
	setpriv --pdeathsig KILL $apart "$0" inside > "$work/said" 2>&1 || status=$?
	cat "$work/said"
	rm -rf "$work"
	exit $status
fi

# In memory where there is enough: it is written four times over, and gone at once.
plenty() {
	free=$(awk '/^MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)
	limit=$(cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null | head -1)
	[ "$free" -ge 12 ] && { [ "${limit:-max}" = max ] || [ $((limit >> 30)) -ge 12 ]; }
}
! plenty || mount -t tmpfs tmpfs "$work"
export TMPDIR="$work/tmp"
mkdir "$TMPDIR"

# The store is ours alone, so that no image of this host is touched.
run_buildah() { buildah --root "$work/store" --runroot "$work/run" "$@"; }

say "making a Debian to begin from"
container=$(run_buildah from scratch) && root=$(run_buildah mount "$container") ||
	untested "buildah cannot make a container"
mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3-venv --dpkgopt=force-unsafe-io \
	--format=directory bookworm "$root" > "$work/base.log" 2>&1 ||
	{ tail -3 "$work/base.log" | cut -c 1-300; untested "mmdebstrap cannot make a Debian to begin from"; }
ln -s /usr/bin/python3 "$root/usr/local/bin/python"
run_buildah run "$container" -- python --version || untested "buildah cannot run a command in a Debian"
run_buildah commit --quiet --format docker --rm "$container" "$from" > /dev/null

# pip in the build sees this host's certificates and, if there is one, its index and its CPU build of torch.
index=${PIP_INDEX_URL:-$(.venv/bin/python -m pip config get global.index-url 2> /dev/null || echo https://pypi.org/simple)}
[ -n "$(find "$wheels/" -name 'torch-*+cpu-*')" ] || say "no CPU build of torch at hand: the image takes the registry's"
printf '[global]\nindex-url = %s\nfind-links = /wheels\n' "$index" > "$work/pip.conf"
build() {
	say "building $1"
	start=$(date +%s)
	run_buildah bud --quiet --pull-never --format docker --tag "$1" --file "$2" --build-arg TORCH_INDEX="$index" \
		--volume /etc/ssl/certs:/etc/ssl/certs:ro --volume "$wheels:/wheels:ro" \
		--volume "$work/pip.conf:/etc/pip.conf:ro" . > "$work/build.log" 2>&1 || { tail -50 "$work/build.log"; exit 1; }
	size=$(run_buildah images --format '{{.Size}}' "$1")
	say "$1 is built: $size, $(($(date +%s) - start)) s"
	user=$(run_buildah inspect --type image --format '{{.Docker.Config.User}}' "$1")
	[ "$user" = 10001:10001 ] || { say "$1 runs as '$user'"; exit 1; }
}

# within IMAGE COMMANDS: with the image's user and environment and as docker-compose.yml has it, without a capability
# and with nothing to write to but /tmp and the volume.
within() {
	container=$(run_buildah from --pull-never "$1")
	root=$(run_buildah mount "$container")
	environment=$(run_buildah inspect --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "$container")
	unshare --mount sh -euc '
		root=$1 commands=$2; shift 2
		mount --bind "$root" "$root"
		mount -o remount,bind,ro "$root"
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs tmpfs "$root/tmp"
		! test -d "$root/data" || mount -t tmpfs -o uid=10001,gid=10001 tmpfs "$root/data"
		exec chroot --userspec=10001:10001 "$root" env -i "$@" sh -euc "$commands"
	' within "$root" "
		no() { if \"\$@\" 2> /dev/null; then echo \"this should have failed: \$*\"; exit 1; fi; }
		test \"\$(id -u)\" = 10001
		no touch /anything
		$2" $environment
	run_buildah rm "$container" > /dev/null
}

build microdose-client docker/client.Dockerfile
within microdose-client 'microdose --help > /dev/null; no python -c "import torch"'
say "microdose-client runs as 10001, without torch"

build microdose-server docker/server.Dockerfile
free() { .venv/bin/python -c 'from microdose_server.evaluate.ports import free_port; print(free_port())'; }
port=$(free)
relay_port=$(free)
within microdose-server "
	check() {  # ROLE PORT, once it has had its time to start
		for try in \$(seq 60); do microdose-server check --for \$1 --port \$2 > /dev/null 2>&1 && break; sleep 1; done
		microdose-server check --for \$1 --port \$2
	}
	microdose-server up --port $port > /tmp/up.log 2>&1 & running=\$!
	trap 'kill \$running' EXIT
	check api $port
	microdose-server check --port $port
	check worker $port
	MICRODOSE_KEY=\$(microdose-server keys create --scope view --name relay) microdose-server relay \
		--upstream http://127.0.0.1:$port --data-dir /tmp/relay --port $relay_port > /tmp/relay.log 2>&1 &
	running=\"\$running \$!\"
	check relay $relay_port
	id"
say "microdose-server serves, works, relays and checks itself as 10001"
