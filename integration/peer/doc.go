// Package peer starts the programs that mxbypass is tested and measured against, and the built mxbypass itself: servers
// (Postfix, Exim, Dovecot), DNS (nsd), filters (rspamd, ClamAV, OpenDKIM, OpenDMARC), a proxy (HAProxy), an authority
// (pebble), and dkimpy. Each runs on free loopback ports in a folder of its own and is ended by its owner.
//
// It is used by the black-box tests of package integration and by the benchmarks, and it imports nothing of the relay:
// what it knows of mxbypass is what an operator knows.
package peer
