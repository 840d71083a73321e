package queue

import (
	"context"
	"log/slog"
)

const (
	// logPages is how long the write-ahead log becomes before it is copied into the database.
	logPages = (64 << 20) / pageSize
	// tooLong times that length, readers are waited for so that it can begin anew.
	tooLong = 8
)

// copier copies the write-ahead log into the database while the writer goes on. What was written meanwhile the writer
// copies itself, which is little; then the log begins anew, and stays as long as it is.
type copier struct {
	path string
	log  *slog.Logger
	ask  chan struct{}
	done chan struct{}

	// The writer's own:
	length int64 // see logPages
	pages  int64 // in the log, about
	from   int64 // so many pages have it copied
	asked  bool
}

func newCopier(path string, log *slog.Logger) *copier {
	return &copier{path: path, log: log, length: logPages, from: logPages,
		ask: make(chan struct{}, 1), done: make(chan struct{}, 1)}
}

// loop is the life of the goroutine that copies.
func (c *copier) loop(closing <-chan struct{}) {
	var s *session
	defer func() {
		if s != nil {
			_ = s.close() // it has written nothing of its own
		}
	}()
	for {
		select {
		case <-closing:
			return
		case <-c.ask:
		}
		var err error
		if s == nil {
			s, err = openSession(context.Background(), writerDSN(c.path))
		}
		if err == nil {
			_, err = s.checkpoint(checkpointPassive)
		}
		if err != nil {
			c.log.Error("the queue's log cannot be copied into the database", "path", c.path, "error", err)
			if s != nil {
				_ = s.close() // it is opened again
				s = nil
			}
		}
		c.done <- struct{}{}
	}
}

// wrote counts what the writer has written, and has the log copied when it is long.
func (c *copier) wrote(pages int64) {
	c.pages += pages
	if c.pages >= c.from && !c.asked {
		c.asked = true
		c.ask <- struct{}{}
	}
}

// restartLog copies the rest, so that the next commit begins the log anew.
func (w *writer) restartLog() {
	c := w.copier
	c.asked = false
	if w.session == nil {
		return
	}
	how, patience := checkpointPassive, c.length/2
	if c.pages >= tooLong*c.length {
		how, patience = checkpointRestart, tooLong*c.length
	}
	whole, err := w.session.checkpoint(how)
	if err != nil {
		w.log.Error("the queue's log cannot be copied into the database", "path", w.path, "error", err)
		w.recover(err)
	}
	if whole && err == nil {
		c.pages, c.from = 0, c.length
		w.space.log.Store(0)
		return
	}
	c.from = c.pages + patience // a reader needs it still
}
