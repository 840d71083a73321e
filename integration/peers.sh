#!/bin/sh
# Installs the programs that the tests talk to: the Debian packages of packages.txt, and Exim beside them.
#
#   peers.sh         installs what is missing when it is root; otherwise says what is missing and fails
#   peers.sh check   only says what is missing
#
# No service is started: the tests run private instances. Exim cannot be installed together with Postfix, so that its
# packages are downloaded and unpacked into ${XDG_CACHE_HOME:-~/.cache}/mxbypass/exim, and only its libraries installed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mxbypass
exim_packages="exim4-base exim4-daemon-light"

say() { echo "peers.sh: $*" >&2; }
die() { say "$*"; exit 1; }

missing_packages() {
	while read -r package; do
		status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=absent
		[ "$status" = installed ] || echo "$package"
	done <"$here/packages.txt"
}

# Exim is there when it starts: it was unpacked, or installed instead of Postfix, and its libraries are found.
exim_works() {
	for exim in "$cache/exim/usr/sbin/exim4" /usr/sbin/exim4; do
		if [ -x "$exim" ] && ! ldd "$exim" 2>/dev/null | grep -q 'not found'; then
			return 0
		fi
	done
	return 1
}

# Services that Debian starts on installation would take ports 25 and 53. policy-rc.d forbids that; what the machine had
# there comes back in the end.
policy=/usr/sbin/policy-rc.d
forbid_services() {
	saved=$(mktemp -d)
	if [ -e "$policy" ] || [ -L "$policy" ]; then
		mv "$policy" "$saved/policy-rc.d"
	fi
	trap restore_services EXIT
	trap 'exit 130' INT TERM HUP
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
}
restore_services() {
	rm -f "$policy"
	if [ -e "$saved/policy-rc.d" ] || [ -L "$saved/policy-rc.d" ]; then
		mv "$saved/policy-rc.d" "$policy"
	fi
	rmdir "$saved"
}

install_packages() {
	say "installing: $*"
	DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" >&2 || die "apt-get failed, see above"
}

# The first alternative of every library that Exim's packages depend on.
exim_libraries() {
	for deb in ./*.deb; do
		dpkg-deb -f "$deb" Depends
	done | tr ',' '\n' | sed 's/^ *//; s/[ |(].*//; s/:.*//' | grep '^lib' | sort -u
}

unpack_exim() {
	say "unpacking $exim_packages into $cache/exim"
	mkdir -p "$cache"
	download=$(mktemp -d)
	# apt downloads as a user of its own, who must be able to write there.
	chmod 755 "$download"
	cd "$download"
	# shellcheck disable=SC2086 # words are packages
	apt-get -q -o APT::Sandbox::User=root download $exim_packages >&2 || die "apt-get download failed, see above"
	# shellcheck disable=SC2046 # words are packages
	install_packages $(exim_libraries)
	rm -rf "$cache/exim"
	for deb in ./*.deb; do
		dpkg-deb -x "$deb" "$cache/exim"
	done
	cd /
	rm -rf "$download"
	exim_works || die "the unpacked Exim does not find its libraries"
}

command -v dpkg-query >/dev/null || die "this is no Debian; needed are: $(tr '\n' ' ' <"$here/packages.txt")$exim_packages"

packages=$(missing_packages | tr '\n' ' ')
exim=
exim_works || exim=$exim_packages
if [ -z "$packages$exim" ]; then
	exit 0
fi
if [ "${1:-}" = check ] || [ "$(id -u)" != 0 ]; then
	[ -z "$packages" ] || say "missing packages: $packages"
	[ -z "$exim" ] || say "missing Exim (unpacked from $exim_packages)"
	die "run $here/peers.sh as root, with the HOME of who runs the tests, to install them"
fi

forbid_services
apt-get -q update >&2 || say "the package lists could not be renewed, going on with the old ones"
if [ -n "$packages" ]; then
	# shellcheck disable=SC2086 # words are packages
	install_packages $packages
fi
if [ -n "$exim" ]; then
	unpack_exim
fi
