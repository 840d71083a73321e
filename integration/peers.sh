#!/bin/sh
# Installs the programs that the tests talk to: the Debian packages of packages.txt, and Exim and OpenSMTPD beside them.
#
#   peers.sh         installs what is missing when it is root; otherwise says what is missing and fails
#   peers.sh check   only says what is missing
#
# No service is started: the tests run private instances. Exim and OpenSMTPD cannot be installed together with Postfix, so
# that their packages are downloaded and unpacked into ${XDG_CACHE_HOME:-~/.cache}/mxbypass/{exim,opensmtpd}, and only
# their libraries installed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mxbypass
beside="exim opensmtpd"

# packages_of NAME and daemon_of NAME: what is unpacked, and the program in it that must start.
packages_of() {
	case $1 in
	exim) echo "exim4-base exim4-daemon-light" ;;
	opensmtpd) echo opensmtpd ;;
	esac
}
daemon_of() {
	case $1 in
	exim) echo usr/sbin/exim4 ;;
	opensmtpd) echo usr/sbin/smtpd ;;
	esac
}

say() { echo "peers.sh: $*" >&2; }
die() { say "$*"; exit 1; }

missing_packages() {
	while read -r package; do
		status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=absent
		[ "$status" = installed ] || echo "$package"
	done <"$here/packages.txt"
}

# A program is there when it starts: it was unpacked, and its libraries are found.
works() {
	daemon=$cache/$1/$(daemon_of "$1")
	[ -x "$daemon" ] && ! ldd "$daemon" 2>/dev/null | grep -q 'not found'
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

# The first alternative of every library that the downloaded packages depend on.
libraries() {
	for deb in ./*.deb; do
		dpkg-deb -f "$deb" Depends
	done | tr ',' '\n' | sed 's/^ *//; s/[ |(].*//; s/:.*//' | grep '^lib' | sort -u
}

# It runs in a subshell, for its working folder.
unpack() (
	say "unpacking $1 into $cache/$1"
	download=$(mktemp -d)
	trap 'rm -rf "$download"' EXIT
	cd "$download"
	# shellcheck disable=SC2046 # words are packages
	apt-get -q -o APT::Sandbox::User=root download $(packages_of "$1") >&2 || die "apt-get download failed, see above"
	# shellcheck disable=SC2046 # words are packages
	install_packages $(libraries)
	for deb in ./*.deb; do
		dpkg-deb -x "$deb" unpacked
	done
	mkdir -p "$cache"
	rm -rf "${cache:?}/$1"
	mv unpacked "$cache/$1"
	works "$1" || die "the unpacked $1 does not find its libraries"
)

command -v dpkg-query >/dev/null || die "this is no Debian; needed are: $(tr '\n' ' ' <"$here/packages.txt")$beside"

packages=$(missing_packages | tr '\n' ' ')
absent=
for name in $beside; do
	works "$name" || absent="$absent $name"
done
if [ -z "$packages$absent" ]; then
	exit 0
fi
if [ "${1:-}" = check ] || [ "$(id -u)" != 0 ]; then
	[ -z "$packages" ] || say "missing packages: $packages"
	[ -z "$absent" ] || say "missing programs, which are unpacked beside them:$absent"
	die "run $here/peers.sh as root, with the HOME of who runs the tests, to install them"
fi

forbid_services
apt-get -q update >&2 || say "the package lists could not be renewed, going on with the old ones"
if [ -n "$packages" ]; then
	# shellcheck disable=SC2086 # words are packages
	install_packages $packages
fi
for name in $absent; do
	unpack "$name"
done
