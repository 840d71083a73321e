package delivery

import (
	"context"
	"errors"
	"slices"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

func TestQueueTakesWhatIsLeft(t *testing.T) {
	temporary := func(mailbox.Recipient) error { return errTemporary }
	final := func(mailbox.Recipient) error { return errFinal }
	const local, remote = "a@exemple.org", "b@remote.example"
	tests := []struct {
		name                  string
		prepare               func(mailbox.Recipient) error
		commit                func(context.Context, mailbox.Recipient) error
		queue                 error
		refuse, each          bool
		errA, errB            error
		queuedA               bool
		store, queueA, queueB int
		remembered            bool
	}{
		{name: "both", store: 1, queueB: 1},
		{name: "the store fails for now", prepare: temporary, queuedA: true, queueA: 1, queueB: 1},
		{name: "the store fails to commit", commit: func(context.Context, mailbox.Recipient) error { return errTemporary },
			queuedA: true, queueA: 1, queueB: 1},
		{name: "the store refuses for good", prepare: final, errA: errFinal, queueB: 1},
		{name: "the store fails, and such are refused", prepare: temporary, refuse: true, errA: errTemporary,
			errB: reply.ErrHeldBack},
		{name: "the store fails, each for itself", prepare: temporary, each: true, errA: errTemporary, queueB: 1},
		{name: "the queue fails", queue: mailbox.ErrNoSpace, errB: mailbox.ErrNoSpace, store: 1, remembered: true},
		{name: "both fail", prepare: temporary, queue: mailbox.ErrNoSpace, errA: errTemporary, errB: mailbox.ErrNoSpace},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &fakeStore{prepare: tt.prepare, commit: tt.commit}
			q := &fakeQueue{fail: tt.queue}
			d := newDeliverer(t, map[string]mailbox.Store{"cloud": s})
			d.queue, d.refuse = q, tt.refuse
			box := recipient("cloud", local)
			got := d.Deliver(t.Context(), message("x"), []routing.Target{{Mailbox: &box}, elsewhere(remote)}, tt.each)
			if !errors.Is(got[0].Err, tt.errA) || !errors.Is(got[1].Err, tt.errB) {
				t.Errorf("outcomes %v", got)
			}
			if got[0].Queued != tt.queuedA || got[1].Queued != (tt.errB == nil) {
				t.Errorf("queued: %v", got)
			}
			if a, b, c := s.count(local), q.count(local), q.count(remote); a != tt.store || b != tt.queueA || c != tt.queueB {
				t.Errorf("copies: %d in the store, %d and %d in the queue", a, b, c)
			}
			if remembered := d.ledger.size.Load() > 0; remembered != tt.remembered {
				t.Errorf("remembered: %v", remembered)
			}
			if s.open != 0 {
				t.Errorf("%d deliveries neither committed nor aborted", s.open)
			}
		})
	}
}

// Once the client was told to try again, nothing is queued: it brings the message once more.
func TestNothingIsQueuedAfterTheAnswer(t *testing.T) {
	s, q := &fakeStore{certain: true}, &fakeQueue{}
	d := newDeliverer(t, map[string]mailbox.Store{"cloud": s})
	d.queue = q
	late := make(chan struct{})
	s.commit = func(context.Context, mailbox.Recipient) error { <-late; return nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	box := recipient("cloud", "a@exemple.org")
	to := []routing.Target{{Mailbox: &box}, elsewhere("b@remote.example")}
	for _, o := range d.Deliver(ctx, message("x"), to, false) {
		if o.Err == nil {
			t.Errorf("outcome %v of a message that took too long", o)
		}
	}
	close(late)
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if q.accepts != 0 {
		t.Error("queued although the client was told to try again")
	}
}

func TestSuccessIsReported(t *testing.T) {
	s, q := &fakeStore{certain: true}, &fakeQueue{}
	s.prepare = func(r mailbox.Recipient) error {
		if r.Delivered.Local == "gone" {
			return errFinal
		}
		return nil
	}
	d := newDeliverer(t, map[string]mailbox.Store{"cloud": s})
	d.queue = q
	var to []mailbox.Recipient
	for name, notify := range map[string]mailbox.Notify{
		"a@exemple.org": mailbox.NotifySuccess, "b@exemple.org": 0, "c@exemple.org": mailbox.NotifyNever,
		"d@exemple.org": mailbox.NotifySuccess | mailbox.NotifyDelay, "gone@exemple.org": mailbox.NotifySuccess,
	} {
		r := recipient("cloud", name)
		r.Report.Notify = notify
		to = append(to, r)
	}
	d.Deliver(t.Context(), message("x"), targets(to), false)
	slices.Sort(q.reported)
	if want := []string{"a@exemple.org", "d@exemple.org"}; !slices.Equal(q.reported, want) {
		t.Errorf("reported %v, want %v", q.reported, want)
	}
	m := message("x")
	m.Reverse = mailbox.Address{}
	if d.Deliver(t.Context(), m, targets(to), false); len(q.reported) != 2 {
		t.Errorf("a report to nobody: %v", q.reported)
	}
}
