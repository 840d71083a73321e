// Package systemd tests the units of configs/systemd under a living systemd: a Debian 12 is made by debootstrap (once, it
// is kept in the user's cache), a copy of it is booted by systemd-nspawn with a network of its own, the relay is installed
// in it as the README tells an operator to, and the tests run inside, as root. It needs root, and a Debian mirror the first
// time: make systemd runs it, and make test does not.
package systemd
