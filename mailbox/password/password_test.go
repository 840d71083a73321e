package password

import (
	"errors"
	"strings"
	"testing"
)

// vectors were made by doveadm pw and by crypt(3) of Debian 12; the last of SHA-512-crypt is of its specification.
var vectors = []struct{ password, hash string }{
	{"Grüße, Welt!", "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$SYfSVSmNcKDjSVHH9R7+Pw$" +
		"pgEPTSoVMDjSpPiH7H35IP+3FslVjDx1h6+lAjIq6J8"},
	{"correct horse", "{argon2id}$argon2id$v=19$m=65536,t=3,p=1$B09r0/DUY5w6ptb6FoAv5A$" +
		"uztC1jyqTLmy60jPr7Cv5XLt4OEv06DQJQxUCK3ljmA"},
	{"Grüße, Welt!", "{BLF-CRYPT}$2y$05$hrGZkC1hCkJLC27TUB5vde2u8pczuCjO5ngp7ub7xXz0IQfkuIoN2"},
	{"correct horse", "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"},
	{"correct horse", "{CRYPT}$2a$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"},
	{strings.Repeat("x", 100), "$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i"},
	{"Grüße, Welt!", "{SHA512-CRYPT}$6$lNdWITZ/76AjSXf6$" +
		"vd8VsdVbfjihHiyF.K8g10tNu78oMovMo8Edvz5N3NisP.9v1ymKmlsHzNVpD88fZj8YAZT7SN63ju1859Ngy."},
	{"correct horse", "{CRYPT}$6$rounds=1000$saltsalt$" +
		"4GMtaIz3E1AdDi2SmCokEW0ehi.HdxNDcL3fGE1XXuzvo6kbx7UOloZKONqEk5H3JrQA4NOfU8BmqFPrpGqwA1"},
	{"Hello world!", "$6$saltstring$" +
		"svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		if ok, err := Verify(v.hash, v.password); !ok || err != nil {
			t.Errorf("%.20q is not the password of %s: %v", v.password, v.hash, err)
		}
		if Work(v.hash).Milliseconds() > 100 { // with the race detector it takes seconds
			continue
		}
		if ok, err := Verify(v.hash, "X"+v.password); ok || err != nil {
			t.Errorf("another than %.20q is the password of %s: %v", v.password, v.hash, err)
		}
	}
}

// Which keyboard somebody has makes no difference: decomposed letters and wide spaces are what they stand for.
func TestOneFormOfAPassword(t *testing.T) {
	hash := vectors[2].hash // Grüße, Welt!
	for _, same := range []string{"Gru\u0308ße, Welt!", "Gr\u00fcße,\u3000Welt!", "Gr\u00fcße,\u00a0Welt!"} {
		if ok, err := Verify(hash, same); !ok || err != nil {
			t.Errorf("%q: %v, %v", same, ok, err)
		}
	}
	if ok, _ := Verify(hash, "grüße, welt!"); ok {
		t.Error("upper and lower case are the same")
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	one, err := Hash("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	other, err := Hash("correct horse")
	if err != nil || one == other {
		t.Errorf("two hashes are the same: %s, %v", one, err)
	}
	if !strings.HasPrefix(one, "$argon2id$v=19$m=65536,t=3,p=4$") || strings.Contains(one, "=$") {
		t.Errorf("no PHC string of the cost that is promised: %s", one)
	}
	if ok, err := Verify(one, "correct horse"); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if err := Check(Decoy()); err != nil || Work(Decoy()) != Work(one) {
		t.Errorf("the decoy is no hash of that cost: %v", err)
	}
}

func TestNoPassword(t *testing.T) {
	for _, no := range []string{
		"", "\x00", "a\x00b", "tab\there", "line\n", "\xff", "\x1b[31m", "\u200b", strings.Repeat("a", MaxLength+1),
		strings.Repeat("\u0958", MaxLength/3), // each becomes two
	} {
		if _, err := Hash(no); !errors.Is(err, ErrPassword) {
			t.Errorf("%.20q: %v", no, err)
		}
		if err := Usable(no); !errors.Is(err, ErrPassword) {
			t.Errorf("%.20q: %v", no, err)
		}
		if ok, err := Verify(vectors[4].hash, no); ok || err != nil {
			t.Errorf("%.20q: %v, %v", no, ok, err)
		}
	}
	if err := Usable(strings.Repeat("a", MaxLength)); err != nil {
		t.Error(err)
	}
}

func TestNoHash(t *testing.T) {
	const (
		salt  = "c2FsdHNhbHQ"            // 8 octets
		key   = "B09r0/DUY5w6ptb6FoAv5A" // 16
		sha   = "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
		after = "$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"
	)
	good := []string{
		"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=262144,t=8,p=64$" + salt + "$" + key,
		"$2b$15" + after, "$6$rounds=1000$a$" + sha, "$6$rounds=1000000$0123456789abcdef$" + sha,
	}
	for _, hash := range good {
		if err := Check(hash); err != nil {
			t.Errorf("%s: %v", hash, err)
		}
	}
	for _, hash := range []string{
		"", "secret", "{PLAIN}secret", "{", "{}", "{ARGON2ID}", "{ARGON2ID", "$", "$$", "{CRYPT}$1$abc$def",
		"{BLF-CRYPT}$6$a$" + sha, "{SHA512-CRYPT}$2b$04" + after, "{CRYPT}" + good[0], "{CRYPT}{CRYPT}" + good[2],
		"$argon2i$v=19$m=8,t=1,p=1$" + salt + "$" + key, good[0] + "$", good[0] + "=", good[0] + "\n", " " + good[0],
		"$argon2id$v=16$m=8,t=1,p=1$" + salt + "$" + key, "$argon2id$m=8,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=7,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=8,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=1,p=0$" + salt + "$" + key, "$argon2id$v=19$m=8,t=1,p=2$" + salt + "$" + key,
		"$argon2id$v=19$m=262145,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=262144,t=9,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=4294967296,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=8,t=4294967295,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=1,p=256$" + salt + "$" + key, "$argon2id$v=19$m=262144,t=1,p=65$" + salt + "$" + key,
		"$argon2id$v=19$t=1,m=8,p=1$" + salt + "$" + key, "$argon2id$v=19$m=8,t=1,p=1,x=1$" + salt + "$" + key,
		"$argon2id$v=19$m=+8,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$" + key,
		"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + key[:20], "$argon2id$v=19$m=8,t=1,p=1$$" + key,
		"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + strings.Repeat("A", 120),
		"$argon2id$v=19$m=8,t=1,p=1$" + strings.Repeat("A", 300) + "$" + key,
		"$2b$16" + after, "$2b$03" + after, "$2b$31" + after, "$2b$99" + after, "$2b$-1" + after, "$2x$04" + after,
		"$2$04" + after, "$2b$04" + after[:40], "$2b$04" + after + "x", "$2b$04" + after[:50] + "+++", "$2b$4$" + after,
		"$6$$" + sha, "$6$a$" + sha[1:], "$6$a$" + sha[1:] + "+", "$6$0123456789abcdefg$" + sha, "$6$a",
		"$6$rounds=999$a$" + sha, "$6$rounds=1000001$a$" + sha, "$6$rounds=999999999$a$" + sha, "$6$rounds=05000$a$" + sha,
		"$6$rounds=$a$" + sha, "$6$rounds=5000$" + sha, "$6$a$b$" + sha, "$6$a\x00b$" + sha,
	} {
		err := Check(hash)
		if !errors.Is(err, ErrHash) {
			t.Errorf("%q: %v", hash, err)
			continue
		}
		if len(hash) > 20 && strings.Contains(err.Error(), hash[10:]) {
			t.Errorf("the error shows the hash: %v", err)
		}
		if ok, again := Verify(hash, "secret"); ok || again == nil || again.Error() != err.Error() || Work(hash) != 0 {
			t.Errorf("%q: verified %v, %v", hash, ok, again)
		}
	}
}

// Whatever a directory has for a hash: it is refused, or it costs no more than is promised, and only one who knows the
// password is let in.
func FuzzCheck(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.hash)
	}
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$B09r0/DUY5w6ptb6FoAv5A")
	f.Fuzz(func(t *testing.T, hash string) {
		v, err := parse(hash)
		if err != nil {
			if !errors.Is(err, ErrHash) {
				t.Fatal(err)
			}
			return
		}
		work := v.work()
		if work <= 0 || work.Seconds() > 3 {
			t.Fatalf("%q costs %s", hash, work)
		}
		if work.Milliseconds() > 10 { // trying all of them takes too long
			return
		}
		if ok, err := v.verify([]byte("no one has this password")); ok || err != nil {
			t.Fatalf("%q: %v, %v", hash, ok, err)
		}
	})
}
