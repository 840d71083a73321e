package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The indexes have the keys and destinations of all items between them.
const (
	keysWaiting = "SELECT message, n, destination FROM recipient INDEXED BY recipient_due WHERE state = 0 AND lease = 0"
	keysLeased  = "SELECT message, n, destination FROM recipient INDEXED BY recipient_lease WHERE lease <> 0"
	keysAside   = "SELECT message, n, destination FROM recipient INDEXED BY recipient_aside WHERE state <> 0 AND lease = 0"
)

// salvage goes on after last where pages of the database are destroyed: it finds the items by their indexes, and reads
// each by itself. Of one that cannot be read there is the key, and why.
func (a *Admin) salvage(ctx context.Context, c condition, columns string, last Key,
	yield func([]*record, error) bool,
) bool {
	keys, err := a.keys(ctx, c.row, last)
	query := "SELECT " + columns + fromItems + "WHERE r.message = ? AND r.n = ?" + c.text
	for _, k := range keys {
		var page []*record
		page, err = a.page(ctx, query, append([]any{k[0], k[1]}, c.args...))
		if errors.Is(err, ErrDamaged) {
			if page, err = nil, nil; c.any {
				page = append(page, unreadableRow(k, columns))
			}
		}
		if err != nil {
			break
		}
		if len(page) > 0 && !yield(page, nil) {
			return false
		}
	}
	if err != nil {
		yield(nil, fmt.Errorf("queue: %w", err))
		return false
	}
	return true
}

// keys gives the items after last, oldest first: all, or those of one message.
func (a *Admin) keys(ctx context.Context, row int64, last Key) (all [][3]int64, err error) {
	for _, query := range []string{keysWaiting, keysLeased, keysAside} {
		keys, err := a.readers.numbers(ctx, query)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			after := k[0] > last.Row || k[0] == last.Row && k[1] > int64(last.N)
			if after && (row == 0 || row == k[0]) {
				all = append(all, k)
			}
		}
	}
	slices.SortFunc(all, func(a, b [3]int64) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	return all, nil
}

// unreadableRow is what is known of an item whose row cannot be read: the key, and in the third column the destination
// where that is asked for, otherwise the state.
func unreadableRow(k [3]int64, columns string) *record {
	r := &record{values: make([]any, 1+strings.Count(columns, ","))}
	r.values[0], r.values[1], r.values[2] = k[0], k[1], k[2]
	if columns != keyColumns {
		r.values[2] = stateQuarantined
		r.fail("its place in the database is destroyed")
	}
	return r
}
