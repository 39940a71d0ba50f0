#!/bin/sh
# Makes the fixtures of the tests: a small git repository with two crates, and
# their packages as cargo makes them.
#
#   testdata/make.sh [DIR]      writes to DIR, by default the folder of this script
#
# hello-crate/first is the repository's first commit, hello-crate/second and
# hello-crate/third the files that later ones change. The results are the same on every run:
#
#   hello-proof.git.tar         the bare repository, loose objects only
#   hello-proof.commits         "VERSION COMMIT" per line
#   NAME-VERSION.crate          hello-proof 0.1.0 and 0.1.1, hello-inner 0.1.0, and the
#                               program hello-tool 0.1.0, with its Cargo.lock
#   hello-proof-0.1.0-repacked.crate   the same files, compressed to other bytes
#   hello-proof.tools           the versions of cargo and git that made them
#
# Needs git, cargo, gzip and GNU tar; needs no network.
#
# The proofs, NAME.entry, and hello-proof-0.1.0.opening are made by internal/makekeys.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
mkdir -p "$out"
out=$(cd "$out" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Nothing of the user's own settings may show in the result.
export LC_ALL=C TZ=UTC0
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
export GIT_AUTHOR_NAME=fixture GIT_AUTHOR_EMAIL=fixture@cratelog.example
export GIT_COMMITTER_NAME=fixture GIT_COMMITTER_EMAIL=fixture@cratelog.example
cargo_bin=$(command -v cargo)
export CARGO_TARGET_DIR="$tmp/target"

work=$tmp/work
bare=$tmp/hello-proof.git
git init -q --object-format=sha1 --initial-branch=main "$work"
git -C "$work" config core.autocrlf false
git -C "$work" config core.fileMode true
git -C "$work" config gc.auto 0

# commit DATE MESSAGE TAG: records the work tree.
commit() {
	git -C "$work" add -A
	GIT_AUTHOR_DATE=$1 GIT_COMMITTER_DATE=$1 git -C "$work" commit -q -m "$2"
	git -C "$work" tag "$3"
	echo "${3#v}" "$(git -C "$work" rev-parse HEAD)" >>"$tmp/hello-proof.commits"
}

# package NAME VERSION DIRECTORY: stores the .crate.
package() {
	lock=--exclude-lockfile
	[ ! -f "$work/$3/Cargo.lock" ] || lock=--locked
	(cd "$work/$3" && "$cargo_bin" package --quiet --no-verify $lock --offline --package "$1")
	cp "$CARGO_TARGET_DIR/package/$1-$2.crate" "$tmp/"
}

cp -R "$here/hello-crate/first/." "$work"
chmod 755 "$work/scripts/greet.sh"
commit '1700000000 +0000' 'Greet the world' v0.1.0
package hello-proof 0.1.0 .
package hello-inner 0.1.0 crates/inner
gzip -dc "$tmp/hello-proof-0.1.0.crate" | gzip -1 -n >"$tmp/hello-proof-0.1.0-repacked.crate"

cp -R "$here/hello-crate/second/." "$work"
commit '1700086400 +0000' 'Greet anybody' v0.1.1
package hello-proof 0.1.1 .

cp -R "$here/hello-crate/third/." "$work"
commit '1700172800 +0000' 'Add a program' v0.1.2
package hello-tool 0.1.0 crates/tool

mkdir -p "$bare/refs/tags" "$bare/refs/heads" "$bare/objects"
echo 'ref: refs/heads/main' >"$bare/HEAD"
printf '[core]\n\trepositoryformatversion = 0\n\tbare = true\n' >"$bare/config"
for ref in heads/main tags/v0.1.0 tags/v0.1.1 tags/v0.1.2; do
	git -C "$work" rev-parse "refs/$ref" >"$bare/refs/$ref"
done
for object in "$work"/.git/objects/??; do
	cp -R "$object" "$bare/objects/"
done
git -C "$bare" fsck --strict --no-dangling >/dev/null

tar -C "$tmp" --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
	--mode=u=rwX,go=rX -cf "$out/hello-proof.git.tar" hello-proof.git
{
	"$cargo_bin" --version
	git --version
} >"$out/hello-proof.tools"
cp "$tmp"/*.crate "$tmp/hello-proof.commits" "$out/"
