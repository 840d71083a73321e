package queue

import (
	"context"
	"errors"
	"fmt"

	"mxbypass/mailbox"
)

var (
	errNobody  = errors.New("a message for nobody")
	errTooLong = fmt.Errorf("a content of more than %d octets", int64(maxContent))
)

// Put writes a message with its recipients. When it returns nil, a crash cannot lose it. With lease the items come back
// leased, their first attempt recorded in the same commit: the caller works on them at once. Errors wrap
// mailbox.ErrNoSpace where that is the cause. Put reads the content before it returns, and not afterwards.
func (q *Queue) Put(ctx context.Context, e Entry, lease bool) ([]*Item, error) {
	leave, err := q.space.enter(e.Message.Content.Size() + perMessage)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	defer leave()
	p, err := q.parcel(ctx, e, nil)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	defer p.source.release()
	var items []*Item
	err = q.writer.do(ctx, p.octets(), func(t *tx) (err error) {
		items, err = p.write(t, lease)
		return err
	})
	if err != nil {
		p.abandon()
		return nil, fmt.Errorf("queue: %w", err)
	}
	return items, nil
}

// parcel is a message on its way into the queue: all of it was read, and all but the last slice is written.
type parcel struct {
	q       *Queue
	entry   Entry
	source  *source
	header  Header
	written int64 // chunks that are in the queue already
}

// parcel reads a message. What is too long for one commit is written as far as the last slice. Of several that are to be
// written together, what was read of those before is written when there is no room for this one.
func (q *Queue) parcel(ctx context.Context, e Entry, before []*parcel) (*parcel, error) {
	m := e.Message
	p := &parcel{q: q, entry: e, source: newSource(q.buffers, m.Content)}
	p.source.before = func(ctx context.Context) error { return writeEarly(ctx, before) }
	switch {
	case len(e.Recipients) == 0:
		return nil, errNobody
	case p.source.size > maxContent:
		return nil, errTooLong
	}
	for {
		done, err := p.source.slice(ctx)
		if err == nil && !done {
			err = p.writeEarly(ctx)
		}
		if err != nil {
			p.source.release()
			p.abandon()
			return nil, err
		}
		if done {
			break
		}
	}
	s := &p.source.survey
	own := ascii(m.Trace)
	p.header = Header{Row: p.header.Row, ID: m.ID, Created: fromMicros(micros(q.now())), Reverse: m.Reverse, UTF8: m.UTF8,
		UTF8Header: s.utf8Header || !own, EightBit: s.eightBit || !own, Return: m.Return, EnvelopeID: m.EnvelopeID,
		Size: s.size, Trace: m.Trace, RequireTLS: m.RequireTLS}
	return p, nil
}

// writeEarly writes what was read last, before the message can be seen.
func (p *parcel) writeEarly(ctx context.Context) error {
	if err := p.q.writer.do(ctx, p.octets(), p.early); err != nil {
		return err
	}
	p.written += int64(len(p.source.pieces))
	p.source.release()
	return nil
}

func writeEarly(ctx context.Context, parcels []*parcel) error {
	for _, p := range parcels {
		if len(p.source.pieces) > 0 {
			if err := p.writeEarly(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// octets is about what a job writes.
func (p *parcel) octets() int64 {
	n := int64(512 * (1 + len(p.entry.Recipients)))
	for _, c := range p.source.pieces {
		n += int64(len(c.data))
	}
	return n
}

const (
	insertOrphan  = "INSERT INTO orphan (message) VALUES (?)"
	deleteOrphan  = "DELETE FROM orphan WHERE message = ?"
	insertChunk   = "INSERT INTO chunk (id, crc, data) VALUES (?, ?, ?)"
	insertMessage = `INSERT INTO message (id, name, created, reverse, flags, size, ret, envid, received)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertRecipient = `INSERT INTO recipient (message, n, destination, state, lease, doubt, attempts, due, notice, expires,
		watch, notify, address, purpose, mailbox, tag, reverse, mark, original, orcpt)
		VALUES (?, ?, ?, 0, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
)

// early writes a slice of a message that cannot be seen yet.
func (p *parcel) early(t *tx) error {
	if p.written == 0 { // a second try takes another number, because the first was undone
		row, err := t.row()
		if err != nil {
			return err
		}
		p.header.Row = row
		if _, err := t.exec(insertOrphan, row); err != nil {
			return err
		}
	}
	return p.chunks(t)
}

func (p *parcel) chunks(t *tx) error {
	id := firstChunk(p.header.Row) + p.written
	for i, c := range p.source.pieces {
		if _, err := t.exec(insertChunk, id+int64(i), c.crc, c.data); err != nil {
			return err
		}
	}
	return nil
}

// write writes the rest, which makes the message one that is seen.
func (p *parcel) write(t *tx, lease bool) (items []*Item, err error) {
	if p.written > 0 {
		n, err := t.exec(deleteOrphan, p.header.Row)
		if err == nil && n != 1 {
			err = fmt.Errorf("%w: the beginning of the message is gone", ErrDamaged)
		}
		if err != nil {
			return nil, err
		}
	} else if p.header.Row, err = t.row(); err != nil {
		return nil, err
	}
	if err := p.chunks(t); err != nil {
		return nil, err
	}
	h := p.header // a copy for every try: what is given out does not change
	received := h.Trace
	if received == nil {
		received = []byte{}
	}
	_, err = t.exec(insertMessage, h.Row, plain(h.ID, 256), micros(h.Created), h.Reverse.Wire(), h.flags(), h.Size,
		some(string(h.Return)), some(plain(h.EnvelopeID, 1024)), received)
	if err != nil {
		return nil, err
	}
	token := int64(0)
	if lease {
		token = t.lease()
	}
	items = make([]*Item, len(p.entry.Recipients))
	for n := range items {
		if items[n], err = t.insert(&h, n, &p.entry.Recipients[n], token); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func (h *Header) flags() (flags int64) {
	for _, f := range []struct {
		set bool
		bit int64
	}{{h.UTF8, flagUTF8}, {h.UTF8Header, flagUTF8Header}, {h.EightBit, flagEightBit}, {h.RequireTLS, flagRequireTLS}} {
		if f.set {
			flags |= f.bit
		}
	}
	return flags
}

// insert writes a recipient; token 0: nobody works on it.
func (t *tx) insert(h *Header, n int, r *Recipient, token int64) (*Item, error) {
	due := micros(r.Due)
	turn, attempts := due, int64(0)
	if token != 0 {
		turn, attempts = micros(h.Created)+idleTurn.Microseconds(), 1
	}
	at, err := t.place(r.Destination, turn)
	if err != nil {
		return nil, err
	}
	if token == 0 {
		if err := t.hasten(at, due); err != nil {
			return nil, err
		}
	}
	address := r.To.Wire()
	var reverse, original any
	if r.Reverse != h.Reverse {
		reverse = r.Reverse.Wire()
	}
	if r.Original != address {
		original = plain(r.Original, mailbox.MaxPath*4)
	}
	_, err = t.exec(insertRecipient, h.Row, int64(n), at.fate.ID, token, attempts, due, micros(r.Notice), micros(r.Expires),
		watch(r.Notice, r.Expires), int64(r.Report.Notify), address, r.Purpose, some(r.Mailbox.Wire()), some(string(r.Tag)),
		reverse, some(r.Mark), original, some(r.Report.Original))
	if err != nil {
		return nil, err
	}
	return &Item{Key: Key{h.Row, n}, Message: h, Recipient: *r, Attempts: int(attempts), Lease: token, Fate: at.fate}, nil
}

// abandon removes what was written of a message that is not to be queued. What it cannot remove, the next start does.
func (p *parcel) abandon() {
	if p.written > 0 {
		_ = p.q.removeOrphan(p.q.ctx, p.header.Row)
	}
}
