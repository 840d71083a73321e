package authres

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		results []Result
		want    string
	}{
		{nil, "Authentication-Results: mx.test; none\r\n"},
		{
			[]Result{
				{Method: "spf", Value: "pass", Properties: []Property{{"smtp.mailfrom", "a@b.test"}, {"smtp.helo", ""}}},
				{Method: "dkim", Value: "fail", Reason: `not "so"`, Comment: "a (b) \\ c", Properties: []Property{{"header.b", "a/+b"}}},
			},
			"Authentication-Results: mx.test;\r\n\tspf=pass smtp.mailfrom=a@b.test;\r\n" +
				"\tdkim=fail (a [b] / c) reason=\"not \\\"so\\\"\" header.b=\"a/+b\"\r\n",
		},
		{ // nothing that comes from others ends the field or begins a result
			[]Result{{
				Method: "spf", Value: "fail", Comment: "x\r\nFrom: y) dmarc=pass", Reason: "a\r\n\";dmarc=pass",
				Properties: []Property{{"smtp.mailfrom", "\"; dmarc=pass\"@b.test"}, {"header.i", "é@b.test"}},
			}},
			"Authentication-Results: mx.test;\r\n\tspf=fail (x\uFFFD\uFFFDFrom: y] dmarc=pass) reason=\"a\uFFFD\uFFFD\\\";dmarc=pass\"\r\n" +
				"\tsmtp.mailfrom=\"\\\"; dmarc=pass\\\"@b.test\" header.i=\"é@b.test\"\r\n",
		},
	} {
		if got := string(Field("mx.test", c.results)); got != c.want {
			t.Errorf("%q\nwant\n%q", got, c.want)
		}
	}
}

func TestBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 5000)
	got := string(Field("mx.test", []Result{{Method: "spf", Value: "pass", Comment: long, Reason: long,
		Properties: []Property{{"smtp.mailfrom", long}}}}))
	if len(got) > 1200 || strings.ContainsRune(got, '\uFFFD') {
		t.Errorf("%d octets", len(got))
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]struct {
		id      string
		results []Result
	}{
		"mx.test; none":   {"mx.test", nil},
		"mx.test":         {"mx.test", nil},
		"mx.test 1; none": {"mx.test", nil},
		`(a(b)\)) "mx.test" (c) 1 (d) ; spf=pass (x;y) smtp.mailfrom=a@b.test`: {
			"mx.test", []Result{{Method: "spf", Value: "pass", Properties: []Property{{"smtp.mailfrom", "a@b.test"}}}},
		},
		"mx.google.com; dkim=pass header.i=@d.test header.s=s header.b=\"a/b\"; arc=pass (i=1 spf=pass); " +
			"dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=d.test": {"mx.google.com", []Result{
			{Method: "dkim", Value: "pass", Properties: []Property{{"header.i", "@d.test"}, {"header.s", "s"}, {"header.b", "a/b"}}},
			{Method: "arc", Value: "pass"},
			{Method: "dmarc", Value: "pass", Properties: []Property{{"header.from", "d.test"}}},
		}},
		"mx.microsoft.com 1; spf=pass (sender ip is 192.0.2.1) smtp.rcpttodomain=o.test smtp.mailfrom=d.test; " +
			"DMARC/1=Pass (p=none) action=none header.from=d.test; dkim=fail reason=\"a; b\" header.b=x=": {"mx.microsoft.com", []Result{
			{Method: "spf", Value: "pass", Properties: []Property{{"smtp.rcpttodomain", "o.test"}, {"smtp.mailfrom", "d.test"}}},
			{Method: "dmarc", Value: "pass", Properties: []Property{{"action", "none"}, {"header.from", "d.test"}}},
			{Method: "dkim", Value: "fail", Reason: "a; b", Properties: []Property{{"header.b", "x="}}},
		}},
		`mx.test; spf=pass smtp.mailfrom="a b"@d.test`: {"mx.test", []Result{
			{Method: "spf", Value: "pass", Properties: []Property{{"smtp.mailfrom", "a b@d.test"}}},
		}},
	} {
		id, results, err := Parse(payload)
		if err != nil || id != want.id || !reflect.DeepEqual(results, want.results) {
			t.Errorf("%s: %q %+v %v", payload, id, results, err)
		}
	}
	for _, bad := range []string{"", ";", "(", "(mx.test", `"mx.test`, "mx.test x; none", "mx.test 1 2;", "=", "mx.test; =pass",
		"mx.test; spf=pass =", `mx.test; spf=pass a="b`} {
		if id, _, err := Parse(bad); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %q %v", bad, id, err)
		}
	}
	if _, results, err := Parse("mx.test" + strings.Repeat("; spf=pass", 1000)); err != nil || len(results) != maxResults {
		t.Error(len(results), err)
	}
	if got := (Result{Properties: []Property{{"a.b", "c"}}}); got.Property("a.b") != "c" || got.Property("x") != "" {
		t.Error(got)
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	const id = "mx.xn--bcher-kva.test"
	for payload, want := range map[string]bool{
		id + "; spf=pass": true, id: true, "MX.XN--Bcher-KVA.test; none": true, id + " 1; none": true,
		"(comment) " + id + "(another)  2 ; none": true, `"` + id + `"; none`: true, `"mx.xn--bcher-\kva.test"; none`: true,
		id + ".; none": true, "mx.bücher.test; none": true, "mx.BÜCHER.test; none": true, " \t" + id + "\t;none": true,
		id + " what is this": true, "(" + id: true, `"` + id: true, "=; MX.xn--bcher-kva.test": true,
		"other.test; spf=pass (by " + id + ")": false, "x" + id + "; none": false, id + ".evil.test; none": false,
		"other.test; x=" + id: false, "": false, ";": false, "(a) other.test": false,
	} {
		if got := Claims(payload, id); got != want {
			t.Errorf("%q: %t", payload, got)
		}
	}
}

// What we write can be read, and says the same; nothing gets into it that was not a result.
func FuzzField(f *testing.F) {
	f.Add("a", "b", "c")
	f.Add("x)\r\ny", "\"\\;", "a@b.test")
	f.Add("\x00", "(((", "é; dmarc=pass")
	f.Fuzz(func(t *testing.T, comment, reason, value string) {
		field := string(Field("mx.test", []Result{{Method: "spf", Value: "fail", Comment: comment, Reason: reason,
			Properties: []Property{{"smtp.mailfrom", value}}}}))
		lines := strings.Split(strings.TrimSuffix(field, "\r\n"), "\r\n")
		for _, line := range lines[1:] {
			if line == "" || line[0] != '\t' || strings.Trim(line, " \t") == "" || strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("%q", field)
			}
		}
		id, results, err := Parse(strings.ReplaceAll(strings.TrimPrefix(field, "Authentication-Results:"), "\r\n", ""))
		if err != nil || id != "mx.test" || len(results) != 1 || results[0].Value != "fail" || len(results[0].Properties) > 1 {
			t.Fatalf("%q: %q %+v %v", field, id, results, err)
		}
	})
}

// A claim that the strict reader sees is a claim, whatever stands around it.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{"mx.test; none", "(mx.test", `"mx.te\st" 1; a=b`, "a; mx.test", "MX.TEST.", "(\\", "a=\"b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		claims := Claims(payload, "mx.test")
		if id, _, err := Parse(payload); err == nil && strings.EqualFold(id, "mx.test") && !claims {
			t.Errorf("%q is not seen", payload)
		}
		if claims && !Claims("(x) "+payload, "mx.test") {
			t.Errorf("%q is not seen behind a comment", payload)
		}
		if strings.HasPrefix(strings.ToLower(payload), "mx.test;") && !claims {
			t.Errorf("%q is not seen", payload)
		}
	})
}
