package sqldir_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/mailbox/directory/sqldir"
)

// watched is the directory of a relay whose watcher looks when the test says so.
func watched(t *testing.T, path string) (d *sqldir.Directory, look func()) {
	t.Helper()
	d = open(t, path)
	d.StopWatching()
	return d, func() {
		t.Helper()
		if err := d.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChangesOfOthersAreSeen(t *testing.T) {
	editor, path := filled(t, start)
	relay, look := watched(t, path)
	ctx := t.Context()
	box, fresh := address("box@one.test"), address("fresh@one.test")

	// What does not exist is asked for every time: it is there as soon as it is made.
	_, err := relay.Entry(ctx, fresh)
	wantErr(t, err, mailbox.ErrNoMailbox)
	if err := editor.AddEntry(ctx, mailbox.Entry{Address: fresh}); err != nil {
		t.Fatal(err)
	}
	if _, err := relay.Entry(ctx, fresh); err != nil {
		t.Error(err)
	}
	_, err = relay.Domain(ctx, mailbox.MustDomainName("late.test"))
	wantErr(t, err, mailbox.ErrNoDomain)
	late := mailbox.Domain{Name: mailbox.MustDomainName("late.test"), Site: "cloud", MX: mailbox.PolicyAuto}
	if err := editor.AddDomain(ctx, late); err != nil {
		t.Fatal(err)
	}
	if got, err := relay.Domain(ctx, late.Name); err != nil || !reflect.DeepEqual(got, late) {
		t.Error(got, err)
	}

	// What does exist is remembered until somebody looks.
	if _, err := relay.Entry(ctx, box); err != nil {
		t.Fatal(err)
	}
	disable := func(e *mailbox.Entry) error { e.Disabled = true; return nil }
	if err := editor.SetEntry(ctx, box, disable); err != nil {
		t.Fatal(err)
	}
	look()
	if e, err := relay.Entry(ctx, box); err != nil || !e.Disabled {
		t.Errorf("%+v, %v: the change was not seen", e, err)
	}
	if err := editor.RemoveEntry(ctx, fresh); err != nil {
		t.Fatal(err)
	}
	look()
	_, err = relay.Entry(ctx, fresh)
	wantErr(t, err, mailbox.ErrNoMailbox)
}

func TestCacheIsUsedOnlyWhenFresh(t *testing.T) {
	_, path := filled(t, start)
	relay, _ := watched(t, path)
	ask := func(a string) { _, _ = relay.Entry(t.Context(), address(a)) } // what it says is tested elsewhere
	misses := func(want uint64) {
		t.Helper()
		if s := relay.Stats(); s.Misses != want {
			t.Errorf("%+v, want %d misses", s, want)
		}
	}
	relay.FallBehind()
	ask("box@one.test")
	ask("box@one.test")
	misses(2)
	ask("nobody@one.test")
	ask("nobody@one.test")
	misses(4)
	if s := relay.Stats(); s.Hits != 0 || s.Entries != 1 {
		t.Errorf("%+v, want no hits and one entry", s)
	}
}

func TestCacheIsBounded(t *testing.T) {
	_, path := filled(t, "address,site\n"+manyMailboxes(2000))
	o := options(path)
	o.CacheEntries = 100
	d, err := sqldir.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i := range 2000 {
		if _, err := d.Entry(t.Context(), address(fmt.Sprintf("u%d@many.test", i))); err != nil {
			t.Fatal(err)
		}
	}
	if s := d.Stats(); s.Entries > 100 {
		t.Errorf("%+v", s)
	}
}

func manyMailboxes(n int) string {
	var rows []byte
	for i := range n {
		rows = fmt.Appendf(rows, "u%d@many.test,cloud\n", i)
	}
	return string(rows)
}

// While one adds and removes, others ask: as soon as an addition is done it is found, and as soon as a removal is done
// and was looked for, it is not. Nobody ever hears an error.
func TestManyAskWhileOneChanges(t *testing.T) {
	editor, path := filled(t, start)
	relay, look := watched(t, path)
	ctx := t.Context()
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for i := range 4 {
		asking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				a := address(fmt.Sprintf("new%d@one.test", (n+i)%5))
				if _, err := relay.Entry(ctx, a); err != nil && !isNo(err) {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range 100 {
		a := address(fmt.Sprintf("new%d@one.test", n%5))
		if err := editor.AddEntry(ctx, mailbox.Entry{Address: a}); err != nil {
			t.Error(err)
		}
		if _, err := relay.Entry(ctx, a); err != nil {
			t.Error("added, and not found:", err)
		}
		if err := editor.RemoveEntry(ctx, a); err != nil {
			t.Error(err)
		}
		look()
		if _, err := relay.Entry(ctx, a); !isNo(err) {
			t.Error("removed, and found:", err)
		}
	}
	close(stop)
	asking.Wait()
}

// Whatever is done to a directory, all that is in it leads somewhere, and the relay resolves it.
func TestChangesKeepEverythingLeadingSomewhere(t *testing.T) {
	local := rapid.SampledFrom([]string{"a", "b", "c", "d", "B", "c+x"})
	domain := rapid.SampledFrom([]string{"one.test", "two.test", "three.test"})
	policy := rapid.SampledFrom([]mailbox.MXPolicy{mailbox.PolicyAuto, mailbox.PolicyLocal, mailbox.PolicyExternal,
		mailbox.PolicySplit})
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		d, err := sqldir.Open(t.Context(), options(fmt.Sprintf("%s/%d.db", dir, runs)))
		if err != nil {
			r.Fatal(err)
		}
		defer func() {
			if err := d.Close(); err != nil {
				r.Error(err)
			}
		}()
		ctx := t.Context()
		some := func() mailbox.Address { return address(local.Draw(r, "local") + "@" + domain.Draw(r, "domain")) }
		targets := func() (to []mailbox.Address) {
			for range rapid.IntRange(0, 2).Draw(r, "targets") {
				to = append(to, some())
			}
			return to
		}
		name := func() mailbox.DomainName { return mailbox.MustDomainName(domain.Draw(r, "name")) }
		for range rapid.IntRange(5, 25).Draw(r, "changes") {
			switch rapid.IntRange(0, 9).Draw(r, "change") {
			case 0:
				err = d.AddDomain(ctx, mailbox.Domain{Name: name(), Site: "cloud", MX: policy.Draw(r, "policy")})
			case 1:
				err = d.RemoveDomain(ctx, name(), rapid.Bool().Draw(r, "all"))
			case 2:
				err = d.SetDomain(ctx, name(), func(d *mailbox.Domain) error { d.CatchAll = some(); return nil })
			case 3:
				err = d.RemoveEntry(ctx, some())
			case 4:
				err = d.SetEntry(ctx, some(), func(e *mailbox.Entry) error { e.Alias = targets(); return nil })
			case 5:
				err = d.SetEntry(ctx, some(), func(e *mailbox.Entry) error { e.Copies = targets(); return nil })
			case 6:
				err = d.SetDomain(ctx, name(), func(d *mailbox.Domain) error { d.MX = policy.Draw(r, "policy"); return nil })
			case 7:
				err = d.AddEntry(ctx, mailbox.Entry{Address: some(), Copies: targets()})
			default:
				err = d.AddEntry(ctx, mailbox.Entry{Address: some(), Alias: targets()})
			}
			if err != nil && !slices.ContainsFunc(refusals, func(is error) bool { return errors.Is(err, is) }) {
				r.Fatal(err)
			}
		}
		for domain, err := range d.Domains(ctx) {
			if err != nil {
				r.Fatal(err)
			}
			if domain.CatchAll.IsNull() {
				continue
			}
			if to, err := resolveIn(ctx, d, domain.CatchAll); err != nil || len(to) == 0 {
				r.Errorf("catch-all %s leads to %v, %v", domain.CatchAll, to, err)
			}
		}
		for e, err := range d.Entries(ctx, mailbox.DomainName{}) {
			if err != nil {
				r.Fatal(err)
			}
			if to, err := resolveIn(ctx, d, e.Address); err != nil || len(to) == 0 {
				r.Errorf("%v leads to %v, %v", e, to, err)
			}
			if err := options("").Rules.Targets(ctx, d, e.Address); err != nil {
				r.Errorf("%v could not be made: %v", e, err)
			}
		}
	})
}

var refusals = []error{directory.ErrInvalid, directory.ErrExists, directory.ErrInUse, mailbox.ErrNoDomain,
	mailbox.ErrNoMailbox}

func isNo(err error) bool { return errors.Is(err, mailbox.ErrNoMailbox) }
