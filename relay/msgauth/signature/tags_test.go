package signature

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestTags(t *testing.T) {
	for text, want := range map[string][]Tag{
		"a=b":                            {{"a", "b"}},
		" a = b ; c_1=\td\r\n e ;":       {{"a", "b"}, {"c_1", "d\r\n e"}},
		"a=; b=;\r\n\t":                  {{"a", ""}, {"b", ""}},
		"b=x=y==":                        {{"b", "x=y=="}},
		"A=1; a=2":                       {{"A", "1"}, {"a", "2"}},
		"d=m\u00fcnchen.example":         {{"d", "m\u00fcnchen.example"}},
		"i=1;a=rsa-sha256; h=from : to;": {{"i", "1"}, {"a", "rsa-sha256"}, {"h", "from : to"}},
	} {
		tags, err := ParseTags([]byte(text))
		if err != nil || !reflect.DeepEqual(tags.list, want) {
			t.Errorf("%q: %q, %v", text, tags.list, err)
		}
	}
	for _, text := range []string{
		"", ";", "a", "=b", "a=b;;c=d", "a=b; ;", "a=b; c", "1a=b", "a-b=c", "a b=c", "a=\x00", "a=\x7f", "a=\xff", "a=1; a=2",
		"_=x", strings.Repeat("x=1;", 2), tooMany(),
	} {
		if tags, err := ParseTags([]byte(text)); !errors.Is(err, ErrTags) {
			t.Errorf("%q: %q, %v", text, tags.list, err)
		}
	}
}

func tooMany() string {
	var b strings.Builder
	for i := range maxTags + 1 {
		b.WriteString("t" + strings.Repeat("x", i) + "=1;")
	}
	return b.String()
}

// FuzzTags: what is accepted says the same when it is written anew, every value stands where it was found, and no name is
// there twice.
func FuzzTags(f *testing.F) {
	for _, seed := range []string{"a=b", " v = 1;\r\n\tb = x y ; h=a:b ;", "a=1;a=2", "a==;b", ";", "p=\xc3\xa9"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		tags, err := ParseTags(text)
		if err != nil {
			return
		}
		var again strings.Builder
		seen := map[string]bool{}
		for _, tag := range tags.list {
			at, ok := tags.span(tag.Name)
			if !ok || string(trim(text[at.start:at.end])) != tag.Value || seen[tag.Name] {
				t.Fatalf("%q: %q at %v", text, tag, at)
			}
			seen[tag.Name] = true
			again.WriteString(tag.Name + "=" + tag.Value + ";")
		}
		second, err := ParseTags([]byte(again.String()))
		if err != nil || !reflect.DeepEqual(second.list, tags.list) {
			t.Fatalf("%q: %q, then %q, %v", text, tags.list, second.list, err)
		}
	})
}

// FuzzKey: a record is a key or is not, and what is no signature is none by any key.
func FuzzKey(f *testing.F) {
	for _, seed := range []string{
		"v=DKIM1; k=ed25519; p=lesKmN+rb+p44XDD/667Z0plNTD4SBQYRFRDt70MgHM=", "p=", "k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAw",
		"v=DKIM1; h=sha1:sha256; s=email:*; t=y:s; p=MIIBCgKCAQEA",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, record string) {
		key, err := ParseKey(record)
		if (err == nil) != (key.public != nil) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("%v, %v", key, err)
		}
		if err != nil {
			return
		}
		for _, algorithm := range []string{RSA, Ed25519, ""} {
			if err := key.Verify(algorithm, make([]byte, 32), []byte(record)); !errors.Is(err, ErrInvalid) {
				t.Fatalf("%s: %v", algorithm, err)
			}
		}
	})
}
