#!/bin/sh
# Build both images of docker/ without an engine, and run them as their own user. `make images` calls this.
#
# Debian's buildah builds the Dockerfiles as they are, under chroot isolation; the image that they begin FROM is
# made here from Debian's packages. Needs root, buildah and mmdebstrap, some minutes and some GB below $WORK.
#
#   docker/verify.sh [WORK]        WORK keeps the base between runs (default: .venv/images)
set -eu
cd "$(dirname "$0")/.."
work=${1:-.venv/images}
python=${PYTHON:-.venv/bin/python}
from=docker.io/library/python:3.11-slim-bookworm
mkdir -p "$work/base" "$work/wheels"
work=$(realpath "$work")
base=$work/base/bookworm.tar
export BUILDAH_ISOLATION=chroot

say() { echo "images: $*"; }

# The store is ours alone, so that no image of this host is touched.
run_buildah() { buildah --root "$work/store" --runroot "$work/run" "$@"; }

if ! [ -e "$base" ]; then
	say "making a Debian to begin from"
	mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$work/new.tar"
	mv "$work/new.tar" "$base"
fi
say "importing it as $from"
printf 'FROM scratch\nADD bookworm.tar /\nRUN ln -s /usr/bin/python3 /usr/local/bin/python\n' > "$work/base/Dockerfile"
run_buildah bud --quiet --tag "$from" "$work/base" > "$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }

# pip in the build sees this host's certificates, and the CPU build of torch if this host can get it.
torch=$(sed -n 's/^torch==//p' constraints.txt)
"$python" -m pip --quiet --disable-pip-version-check download --no-deps --dest "$work/wheels" "torch==$torch+cpu" \
	2> "$work/torch.log" || say "no CPU build of torch at hand: the image takes the registry's"
printf '[global]\nfind-links = /wheels\n' > "$work/pip.conf"
build() {
	say "building $1"
	start=$(date +%s)
	run_buildah bud --quiet --pull-never --format docker --tag "$1" --file "$2" \
		--build-arg TORCH_INDEX=https://pypi.org/simple \
		--volume /etc/ssl/certs:/etc/ssl/certs:ro --volume "$work/wheels:/wheels:ro" \
		--volume "$work/pip.conf:/etc/pip.conf:ro" . > "$work/build.log" 2>&1 || { tail -50 "$work/build.log"; exit 1; }
	size=$(run_buildah images --format '{{.Size}}' "$1")
	say "$1 is built: $size, $(($(date +%s) - start)) s"
	user=$(run_buildah inspect --type image --format '{{.Docker.Config.User}}' "$1")
	[ "$user" = 10001:10001 ] || { say "$1 runs as '$user'"; exit 1; }
}

# inside COMMANDS: with the image's user and environment and as docker-compose.yml has it, without a capability and with
# nothing to write to but /tmp and the volume.
inside() {
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
	' inside "$root" "
		no() { if \"\$@\" 2> /dev/null; then echo \"this should have failed: \$*\"; exit 1; fi; }
		test \"\$(id -u)\" = 10001
		no touch /anything
		$1" $environment
}

build microdose-client docker/client.Dockerfile
container=$(run_buildah from --pull-never microdose-client)
inside 'microdose --help > /dev/null; no python -c "import torch"'
run_buildah rm "$container" > /dev/null
say "microdose-client runs as 10001, without torch"

build microdose-server docker/server.Dockerfile
container=$(run_buildah from --pull-never microdose-server)
free() { "$python" -c 'from microdose_server.evaluate.ports import free_port; print(free_port())'; }
port=$(free)
relay_port=$(free)
inside "
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
run_buildah rm "$container" > /dev/null
say "microdose-server serves, works, relays and checks itself as 10001"
