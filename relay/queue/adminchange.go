package queue

import (
	"context"
	"errors"
	"fmt"
)

// Retry makes what the filter selects due now, its destinations too, and returns how many items it changed.
func (a *Admin) Retry(ctx context.Context, f Filter) (int64, error) {
	now := micros(a.now())
	return a.change(ctx, f, func(s *session, k selected) (int64, error) {
		n, err := s.exec("UPDATE recipient SET due = min(due, ?3) WHERE message = ?1 AND n = ?2 AND state = 0 AND lease = 0",
			k.Row, int64(k.N), now)
		if err == nil && n > 0 {
			_, err = s.exec("UPDATE destination SET due = min(due, ?2), until = 0 WHERE id = ?1", k.destination, now)
		}
		return n, err
	})
}

// Hold keeps what the filter selects from being tried, until it is released. An attempt that is under way ends as it ends.
func (a *Admin) Hold(ctx context.Context, f Filter) (int64, error) {
	return a.change(ctx, f, func(s *session, k selected) (int64, error) {
		return s.exec("UPDATE recipient SET state = 1 WHERE message = ? AND n = ? AND state = 0", k.Row, int64(k.N))
	})
}

// Release lets what was held, or put aside as damaged, be tried again. What is damaged still is put aside again.
func (a *Admin) Release(ctx context.Context, f Filter) (int64, error) {
	return a.change(ctx, f, func(s *session, k selected) (int64, error) {
		n, err := s.exec("UPDATE recipient SET state = 0 WHERE message = ? AND n = ? AND state <> 0", k.Row, int64(k.N))
		if err == nil && n > 0 {
			_, err = s.exec(rousePlace, k.destination)
		}
		return n, err
	})
}

const removeChunks = `DELETE FROM chunk WHERE id BETWEEN ?1 AND ?2
	AND NOT EXISTS (SELECT 1 FROM recipient WHERE message = ?3)`

// Remove drops what the filter selects without any report, also while an attempt is under way.
func (a *Admin) Remove(ctx context.Context, f Filter) (int64, error) {
	return a.change(ctx, f, func(s *session, k selected) (int64, error) {
		n, err := s.exec("DELETE FROM recipient WHERE message = ? AND n = ?", k.Row, int64(k.N))
		if err != nil || n == 0 {
			return n, err
		}
		// The row of a damaged message may be missing: its content goes all the same.
		if _, err := s.exec(deleteMessage, k.Row); err != nil {
			return 0, err
		}
		if _, err := s.exec(removeChunks, firstChunk(k.Row), lastChunk(k.Row), k.Row); err != nil {
			return 0, err
		}
		_, err = s.exec(rousePlace, k.destination) // which may have no mail now, and finds out
		return n, err
	})
}

// changeTogether is how many items a command changes in one commit: a relay waits meanwhile.
const changeTogether = 100

// keyColumns are those of selected.
const keyColumns = "r.message, r.n, r.destination"

// selected is an item that a filter has selected.
type selected struct {
	Key
	destination int64
}

// change does something to each item that the filter selects. What it selects is found without a lock.
func (a *Admin) change(ctx context.Context, f Filter, one func(*session, selected) (int64, error)) (
	total int64, err error,
) {
	s, err := openSession(ctx, adminDSN(a.path))
	if err != nil {
		return 0, opening(a.path, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for page, err := range a.pages(ctx, f, keyColumns) {
		if err != nil {
			return total, err
		}
		for len(page) > 0 && ctx.Err() == nil {
			n := min(len(page), changeTogether)
			done, err := changePage(s, page[:n], one)
			total += done
			if err != nil {
				return total, fmt.Errorf("queue: %w", classify(err))
			}
			page = page[n:]
		}
		if err := ctx.Err(); err != nil {
			return total, err
		}
	}
	return total, nil
}

func changePage(s *session, page []*record, one func(*session, selected) (int64, error)) (total int64, err error) {
	if _, err := s.exec("BEGIN IMMEDIATE"); err != nil {
		return 0, err
	}
	for _, r := range page {
		k := selected{Key{r.integer("the message"), int(r.integer("the recipient"))}, r.integer("the destination")}
		n, err := one(s, k)
		if err != nil {
			_, _ = s.exec("ROLLBACK") // an error says that SQLite has rolled back already
			return 0, err
		}
		total += n
	}
	if _, err := s.exec("COMMIT"); err != nil {
		_, _ = s.exec("ROLLBACK")
		return 0, err
	}
	return total, nil
}
