package queue

import (
	"context"
	"errors"
)

const (
	// freeTogether is how many leases of an earlier process are freed in one commit, and removeTogether how many chunks of
	// what it left behind are removed.
	freeTogether   = 500
	removeTogether = 64
)

// takeOver frees what an earlier process had leased, and removes what it had not completed. An index leads to them. What
// cannot be read is left as it is.
func (q *Queue) takeOver(ctx context.Context) error {
	if err := q.freeLeases(ctx); err != nil {
		return err
	}
	orphans, err := q.readers.numbers(ctx, "SELECT message FROM orphan")
	if err != nil {
		return err
	}
	for _, row := range orphans {
		if err := q.removeOrphan(ctx, row[0]); err != nil {
			if !errors.Is(err, ErrDamaged) {
				return err
			}
			q.log.Error("a message that never was complete cannot be removed from the queue", "path", q.path, "error", err)
		}
	}
	return nil
}

const (
	freeItem     = "UPDATE recipient SET lease = 0, doubt = 1 WHERE message = ? AND n = ? AND lease <> 0"
	rousePlace   = "UPDATE destination SET due = until WHERE id = ? AND due > until"
	selectLeased = "SELECT destination, message, n FROM recipient WHERE lease <> 0"
)

func (q *Queue) freeLeases(ctx context.Context) error {
	leased, err := q.readers.numbers(ctx, selectLeased)
	if err != nil {
		return err
	}
	for len(leased) > 0 {
		n := min(len(leased), freeTogether)
		err := q.free(ctx, leased[:n])
		for i := 0; errors.Is(err, ErrDamaged) && i < n; i++ {
			if alone := q.free(ctx, leased[i:i+1]); errors.Is(alone, ErrDamaged) {
				q.log.Error("a message cannot be freed for another attempt", "path", q.path, "error", alone)
			} else if alone != nil {
				return alone
			}
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		leased = leased[n:]
	}
	return nil
}

func (q *Queue) free(ctx context.Context, leased [][3]int64) error {
	return q.writer.do(ctx, 0, func(t *tx) error {
		for _, k := range leased {
			if _, err := t.exec(freeItem, k[1], k[2]); err != nil {
				return err
			}
			if _, err := t.exec(rousePlace, k[0]); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	deleteSomeChunks = "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE id BETWEEN ? AND ? LIMIT ?)"
)

// removeOrphan removes a message that never was complete, in commits that are not long.
func (q *Queue) removeOrphan(ctx context.Context, row int64) error {
	for {
		done := false
		err := q.writer.do(ctx, removeTogether*chunkSize/8, func(t *tx) error {
			n, err := t.exec(deleteSomeChunks, firstChunk(row), lastChunk(row), int64(removeTogether))
			if done = n < removeTogether; !done || err != nil {
				return err
			}
			_, err = t.exec(deleteOrphan, row)
			return err
		})
		if done || err != nil {
			return err
		}
	}
}
