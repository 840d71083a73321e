package login

import (
	"testing"

	"mxbypass/mailbox/password"
)

// A client who has logged in a while ago costs no more than questions to the directory.
func BenchmarkRemembered(b *testing.B) {
	u := company()
	a, err := New(Options{Resolver: resolverOf(u), Secrets: u, Parallel: 1, Remember: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), "anna@exemple.org", horse); err != nil {
			b.Fatal(err)
		}
	}
}

// What the first login of a user costs, with a hash of ours.
func BenchmarkFirst(b *testing.B) {
	u := company()
	hash, err := password.Hash(horse)
	if err != nil {
		b.Fatal(err)
	}
	u.secrets["anna@exemple.org"] = hash
	a, err := New(Options{Resolver: resolverOf(u), Secrets: u, Parallel: 1})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), "anna@exemple.org", horse); err != nil {
			b.Fatal(err)
		}
	}
}
