// Package lossydisk is a disk that loses its write cache when its power is cut, as real ones do: what was written and not
// flushed is gone, or has reached the medium in part and in any order.
//
// The disk is one file, served by FUSE, under a loop device with direct I/O. The loop driver sends every write of the
// file system above it as a WRITE, and turns its flushes (REQ_PREFLUSH, and REQ_FUA, which it does not have itself, as a
// flush after the write) into an FSYNC. What is written is kept in memory until the next FSYNC; only that moves it to the
// image, which is the medium. The tests of this package hold kernel and disk to it: without a flush data is lost that has
// reached the device for certain, and with one it stays.
//
// The server is a process of its own, the test's program started again: a process that waits for a file system that waits
// for this same process could wait for ever. It ends with its standard input, however the test ends, and takes mounts and
// loop device along; killed, it leaves I/O errors, and nobody waiting.
package lossydisk
