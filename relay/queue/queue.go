// Package queue keeps messages that cannot be given away at once, durably: in SQLite, written so that another SQL server
// can take its place.
//
// One goroutine writes, and commits what waits together: with many at work, a message costs a small part of a sync. Each
// item that somebody works on carries the token of its lease, and what is written about it is written only under that
// token. Contents are kept in chunks with their checksums and never sit in memory whole. Commands ([Admin]) work on the
// same file from other processes.
package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"mxbypass/mailbox"
)

// Errors of a queue.
var (
	// ErrDamaged: a row or a body is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrClosed: the queue is closed.
	ErrClosed = errors.New("the queue is closed")
	// ErrNotFound: there is no such message in the queue.
	ErrNotFound = errors.New("not in the queue")
)

// Options of a queue.
type Options struct {
	Path string // of the database; made when it is missing
	Log  *slog.Logger
	Now  func() time.Time // nil: time.Now
}

// Queue is the queue of one relay. It is safe for concurrent use.
type Queue struct {
	path    string
	log     *slog.Logger
	now     func() time.Time
	buffers *buffers
	space   *space
	writer  *writer
	readers *reader

	ctx        context.Context // of the readers of contents; it ends with the queue
	cancel     context.CancelFunc
	goroutines sync.WaitGroup
	close      sync.Once

	unreadable unreadable
}

// Content gives the content of a queued message. Its readers stream; an error that wraps ErrDamaged ends one that finds
// that it is not what was written.
func (q *Queue) Content(h *Header) mailbox.Content {
	return &content{ctx: q.ctx, readers: q.readers, header: h}
}

// Changed is sent to when another process has changed the queue (a command): what waits should be looked at again.
func (q *Queue) Changed() <-chan struct{} { return q.writer.changed }
