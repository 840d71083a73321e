package arc

import (
	"io"
	"regexp"
	"strings"
	"testing"

	"mxbypass/relay/header"
)

var (
	spaces  = regexp.MustCompile(`[ \t\r\n]+`)
	onLines = regexp.MustCompile(`[ \t]+`)
	endings = regexp.MustCompile(`(\r\n)+$`)
)

// view is what the sealers of a message have signed, as a reader of RFC 6376 and RFC 8617 would write it down: what the
// last signature covers, and all fields of the chain.
func view(t testing.TB, h *header.Header) string {
	var b strings.Builder
	field := func(f header.Field) {
		name, value, _ := strings.Cut(string(f.Raw), ":")
		name = strings.ToLower(strings.Trim(name, " \t\r\n"))
		b.WriteString(name + ":" + strings.Trim(spaces.ReplaceAllString(value, " "), " ") + "\n")
	}
	seen := map[string]int{}
	for _, name := range names {
		all := h.All(name)
		if n := len(all) - 1 - seen[name]; n >= 0 {
			field(all[n])
			seen[name]++
		}
	}
	for _, kind := range kinds {
		for i := MaxInstances; i > 0; i-- { // in whatever order they stand
			for _, f := range h.All(kind) {
				if n, err := instanceOf(f, kindOf(f)); err == nil && n == i {
					field(f)
				}
			}
		}
	}
	body, err := io.ReadAll(h.Body())
	if err != nil {
		t.Fatal(err)
	}
	text := onLines.ReplaceAllString(strings.TrimPrefix(string(body), "\r\n"), " ")
	text = strings.TrimSuffix(strings.ReplaceAll(text, " \r\n", "\r\n"), " ")
	b.WriteString(endings.ReplaceAllString(text, ""))
	return b.String()
}

// An octet of a message with a chain is changed, taken away or doubled: the chain passes only if it says the same.
func TestOctets(t *testing.T) {
	message := chainOf(t, 2)
	want := view(t, read(t, message))
	passed := 0
	for i := 0; i < len(message); i += 2 {
		changed := message[:i] + string(message[i]^1) + message[i+1:]
		switch i % 3 {
		case 1:
			changed = message[:i] + message[i+1:]
		case 2:
			changed = message[:i] + message[i:i+1] + message[i:]
		}
		h := read(t, changed)
		if c := Validate(t.Context(), h, (&world{}).lookup); c.Status == Pass {
			passed++
			if got := view(t, h); got != want {
				t.Errorf("octet %d (%q) does not count in\n%s", i, message[i], changed)
			}
		}
	}
	if passed == 0 || passed > 50 {
		t.Errorf("%d of %d changes do no harm", passed, len(message))
	}
}

// FuzzValidate: whatever is done to messages with a chain, it passes only as long as everything that was signed says
// what it said, and otherwise there is a reason.
func FuzzValidate(f *testing.F) {
	views := map[string]bool{}
	for n := range 4 {
		message := chainOf(f, n)
		views[view(f, read(f, message))] = true
		f.Add([]byte(message))
		f.Add([]byte(strings.ReplaceAll(message, "\r\n\t", " ")))
	}
	for _, c := range changes {
		f.Add([]byte(strings.Replace(chainOf(f, 2), c.from, c.to, 1)))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		h, err := header.Read(memory(message), 64<<10)
		if err != nil {
			return
		}
		c := Validate(t.Context(), h, (&world{}).lookup)
		switch c.Status {
		case None:
			if c.Instances != 0 {
				t.Errorf("%+v", c)
			}
		case Fail:
			if c.Reason == "" || c.Sealers != nil || c.Temporary {
				t.Errorf("%+v", c)
			}
		case Pass:
			if len(c.Sealers) != c.Instances || c.Reason != "" || !views[view(t, h)] {
				t.Errorf("%+v, although it was changed:\n%s", c, message)
			}
		default:
			t.Errorf("%+v", c)
		}
		folded := len(message) > 0 && (message[0] == ' ' || message[0] == '\t') // whatever is on top of it has this line too
		if fields, err := Seal(h, input(c.Instances+1, c)); err == nil && fields != nil && c.Status != Fail && !folded {
			next, err := header.Read(memory(append(fields, message...)), 128<<10)
			if err != nil {
				t.Fatal(err)
			}
			if after := Validate(t.Context(), next, (&world{}).lookup); after.Status != Pass {
				if len(h.All("From")) > 0 || after.Instances != c.Instances+1 {
					t.Errorf("a new set makes %+v of %+v", after, c)
				}
			}
		}
	})
}
