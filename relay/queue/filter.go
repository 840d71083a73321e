package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"mxbypass/mailbox"
)

// condition is what a filter asks for, in SQL. The text is ours, and everything that comes from elsewhere an argument.
type condition struct {
	text string
	args []any
	row  int64 // of one message; 0: all
	any  bool  // whatever is damaged is meant too
}

func (c *condition) and(text string, args ...any) {
	c.text += " AND (" + text + ")"
	c.args = append(c.args, args...)
}

// The columns of an address end with its domain; letters in ASCII are compared without regard to case.
const (
	senderIs    = "lower(m.reverse) = ? OR lower(r.reverse) = ?"
	senderAt    = "lower(substr(m.reverse, -length(?))) = ? OR lower(substr(r.reverse, -length(?))) = ?"
	recipientIs = "lower(r.address) = ?"
	recipientAt = "lower(substr(r.address, -length(?))) = ?"

	// What a failure looks like where it is shown: host, command, codes and words. $ is its table.
	reasonShown = `replace(coalesce($.last_host, '')
		|| CASE WHEN $.last_host IS NULL AND ($.last_code <> 0 OR $.last_command IS NULL) THEN ''
			WHEN $.last_host IS NULL THEN $.last_command || ': '
			WHEN $.last_code <> 0 AND $.last_command IS NOT NULL THEN ' answered ' || $.last_command || ' with '
			ELSE ': ' END
		|| CASE WHEN $.last_code = 0 THEN ''
			WHEN $.last_enhanced / 1000000 = $.last_code / 100 AND $.last_enhanced % 1000000 <> 0 THEN
				printf('%d %d.%d.%d ', $.last_code, $.last_enhanced / 1000000, $.last_enhanced / 1000 % 1000,
					$.last_enhanced % 1000)
			ELSE $.last_code || ' ' END
		|| $.last_text, char(10), ' ')`
)

// reasonHas asks whether a failure has words.
func reasonHas(table string) string {
	return "instr(lower(" + strings.ReplaceAll(reasonShown, "$", table) + "), ?) > 0"
}

func (f Filter) condition(now time.Time) (c condition, err error) {
	if f.Sender != "" {
		switch s, domain := wanted(f.Sender); {
		case domain:
			c.and(senderAt, s, s, s, s)
		default:
			c.and(senderIs, s, s)
		}
	}
	if f.Recipient != "" {
		switch s, domain := wanted(f.Recipient); {
		case domain:
			c.and(recipientAt, s, s)
		default:
			c.and(recipientIs, s)
		}
	}
	if f.Domain != "" {
		s, _ := wanted("@" + f.Domain)
		c.and(recipientAt, s, s)
	}
	if f.OlderThan > 0 {
		c.and("coalesce(m.created, 0) <= ?", micros(now.Add(-f.OlderThan))) // whose row is lost is old
	}
	if f.Reason != "" {
		s := lower(f.Reason)
		c.and(reasonHas("r")+" OR "+reasonHas("d"), s, s)
	}
	switch f.State {
	case "":
	case Waiting:
		c.and("r.state = 0 AND r.lease = 0")
	case Active:
		c.and("r.state = 0 AND r.lease <> 0")
	case Held:
		c.and("r.state = 1")
	case Quarantined:
		c.and("r.state = 2")
	default:
		return c, fmt.Errorf("unknown state %q: want %s, %s, %s or %s", f.State, Waiting, Active, Held, Quarantined)
	}
	c.any = len(c.args) == 0 && (f.State == "" || f.State == Quarantined)
	return c, nil
}

// wanted gives an address as the queue has it, or what its end is to be.
func wanted(s string) (text string, domain bool) {
	if s == "<>" {
		return "", false
	}
	if name, ok := strings.CutPrefix(s, "@"); ok {
		if d, err := mailbox.ParseDomainName(name); err == nil {
			name = d.ASCII()
		}
		return "@" + lower(name), true
	}
	if p, err := mailbox.ParseReversePath(s, true); err == nil {
		s = p.Address.Wire()
	}
	return lower(s), false
}

// lower does what lower does in SQL: it knows the letters of ASCII.
func lower(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, s)
}

// pages reads columns, of which the first two are the key, of what the filter selects.
func (a *Admin) pages(ctx context.Context, f Filter, columns string) iter.Seq2[[]*record, error] {
	return func(yield func([]*record, error) bool) {
		c, err := f.condition(a.now())
		if err != nil {
			yield(nil, err)
			return
		}
		scopes := []condition{c}
		if len(f.IDs) > 0 {
			if scopes, err = a.messages(ctx, f.IDs, c); err != nil {
				yield(nil, err)
				return
			}
		}
		for _, scope := range scopes {
			if !a.scope(ctx, scope, columns, yield) {
				return
			}
		}
	}
}

// messages narrows a condition down to each of some messages, oldest first.
func (a *Admin) messages(ctx context.Context, ids []string, c condition) ([]condition, error) {
	var found []int64
	for _, id := range ids {
		rows, err := a.readers.numbers(ctx, "SELECT id FROM message WHERE name = ?", id)
		if err != nil {
			return nil, fmt.Errorf("queue: %w", err)
		}
		for _, row := range rows {
			found = append(found, row[0])
		}
	}
	slices.Sort(found)
	var all []condition
	for _, row := range slices.Compact(found) {
		one := condition{c.text, slices.Clone(c.args), row, c.any}
		one.and("r.message = ?", row)
		all = append(all, one)
	}
	return all, nil
}

// scope gives the pages of one condition. Each is a query of its own that begins after the last key.
func (a *Admin) scope(ctx context.Context, c condition, columns string, yield func([]*record, error) bool) bool {
	query := "SELECT " + columns + fromItems + "WHERE (r.message, r.n) > (?, ?)" + c.text + " ORDER BY r.message, r.n LIMIT ?"
	for last := (Key{-1, -1}); ; {
		args := append([]any{last.Row, last.N}, c.args...)
		page, err := a.page(ctx, query, append(args, listPage))
		if errors.Is(err, ErrDamaged) {
			return a.salvage(ctx, c, columns, last, yield)
		}
		if err != nil {
			yield(nil, fmt.Errorf("queue: %w", err))
			return false
		}
		if len(page) == 0 {
			return true
		}
		end := *page[len(page)-1]
		last = Key{end.integer("the message"), int(end.integer("the recipient"))}
		if end.err != nil {
			yield(nil, fmt.Errorf("queue: %w", end.err))
			return false
		}
		if !yield(page, nil) {
			return false
		}
		if len(page) < listPage {
			return true
		}
	}
}

func (a *Admin) page(ctx context.Context, query string, args []any) (page []*record, err error) {
	rows, err := a.readers.db.QueryContext(ctx, query, args...) // its text is that of one filter
	if err != nil {
		return nil, classify(err)
	}
	err = eachRow(rows, func(r *record) bool {
		page = append(page, r)
		return true
	})
	return page, err
}
