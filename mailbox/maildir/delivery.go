package maildir

import (
	"context"
	"slices"
)

// delivery is a message that is in tmp/ for some of its recipients.
type delivery struct {
	store  *Store
	copies []*fileCopy // per recipient of Prepare; nil: refused
	errs   []error
}

// Certain implements [mailbox.Delivery]: what a full disk or quota refuses was refused by Prepare.
func (d *delivery) Certain() bool { return true }

// Abort implements [mailbox.Delivery].
func (d *delivery) Abort() {
	defer d.store.work.Done()
	for _, c := range d.copies {
		if c != nil {
			d.store.remove(c)
		}
	}
}

// Commit implements [mailbox.Delivery]: the copies join the next group of their file system, and are in new/ and
// durable when that is done.
func (d *delivery) Commit(ctx context.Context) []error {
	defer d.store.work.Done()
	errs := slices.Clone(d.errs)
	parts := d.parts()
	for _, p := range parts {
		p.request = p.committer.submit(p.copies)
	}
	for _, p := range parts {
		p.await(ctx, d.store)
		for k, i := range p.indices {
			errs[i] = refuse(p.errs[k])
		}
	}
	return errs
}

// part is what of a delivery is on one file system.
type part struct {
	committer *committer
	copies    []*fileCopy
	indices   []int // of the copies in the delivery
	errs      []error
	request   *request
}

func (d *delivery) parts() []*part {
	var parts []*part
	for i, c := range d.copies {
		if c == nil {
			continue
		}
		k := slices.IndexFunc(parts, func(p *part) bool { return p.committer == c.folder.commits })
		if k < 0 {
			k = len(parts)
			parts = append(parts, &part{committer: c.folder.commits})
		}
		parts[k].copies = append(parts[k].copies, c)
		parts[k].indices = append(parts[k].indices, i)
	}
	return parts
}

// await waits for the group. When the context ends first, what the group has not begun with is taken back; the rest
// may still arrive, and be a duplicate.
func (p *part) await(ctx context.Context, s *Store) {
	select {
	case <-p.request.done:
		p.errs = p.request.errs
		return
	case <-ctx.Done():
	}
	p.errs = slices.Repeat([]error{context.Cause(ctx)}, len(p.copies))
	if p.request.withdraw() {
		for _, c := range p.copies {
			s.remove(c)
		}
	}
}
