package mtasts

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const valid = "version: STSv1\r\nmode: enforce\r\nmx: mx.d.test\r\nmx: *.Pool.d.test.\r\nmax_age: 604800\r\n"

func TestParse(t *testing.T) {
	p, err := parse(valid)
	if err != nil || p.Mode != Enforce || p.MaxAge != 7*24*time.Hour || !slices.Equal(p.MX, []string{"mx.d.test", "*.pool.d.test"}) ||
		len(p.Lines) != 5 || p.Lines[1] != "mode: enforce" {
		t.Errorf("%+v, %v", p, err)
	}
	for text, want := range map[string]string{
		strings.ReplaceAll(valid, "\r", ""):             "",
		"\n" + valid + "\n\n":                           "",
		strings.Replace(valid, ": ", ":", 4):            "",
		strings.Replace(valid, "mode: ", "mode :\t", 1): "",
		valid + "future: yes: really\n":                 "",
		valid + "mode: none\n":                          "", // the first one counts
		"version: STSv1\nmode: none\nmax_age: 86400\n":  "",
		"": `the version of the policy is ""`,
		strings.Replace(valid, "STSv1", "STSv2", 1):              `version`,
		strings.Replace(valid, "enforce", "Enforce", 1):          `the mode of the policy is "Enforce"`,
		strings.Replace(valid, "604800", "-1", 1):                `max_age of the policy is "-1"`,
		strings.Replace(valid, "604800", "+1", 1):                `max_age`,
		strings.Replace(valid, "604800", "99999999999", 1):       `max_age`,
		strings.Replace(valid, "max_age: 604800\r\n", "", 1):     `max_age`,
		strings.Replace(valid, "mx.d.test", "mx.*.test", 1):      `mx of the policy`,
		strings.Replace(valid, "mx.d.test", "192.0.2.1.\x00", 1): `mx of the policy`,
		"version: STSv1\nmode: testing\nmax_age: 1\n":            "the policy names no mx",
		valid + "\x00nonsense\x1b[2J":                            "a line of the policy is none",
		"<html>":                                                 "a line of the policy is none",
		valid + strings.Repeat("x", maxPolicy):                   "longer",
	} {
		_, err := parse(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", text[:min(len(text), 200)], err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x00\x1b\n") {
			t.Errorf("not printable: %q", err)
		}
	}
	if p, err := parse(strings.Replace(valid, "604800", "4294967295", 1)); err != nil || p.MaxAge != maxAge {
		t.Errorf("%v, %v", p, err)
	}
}

func TestFits(t *testing.T) {
	p, err := parse(valid)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"mx.d.test": true, "a.pool.d.test": true, "pool.d.test": false, "a.b.pool.d.test": false, "d.test": false,
		"xmx.d.test": false, "mx.d.test.evil.test": false, "": false, "test": false, "[192.0.2.1]": false, "evilpool.d.test": false,
	} {
		if p.Fits(host) != want {
			t.Errorf("%s", host)
		}
	}
}

func TestRecord(t *testing.T) {
	for _, c := range []struct {
		texts []string
		want  string // "": none
	}{
		{nil, ""},
		{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{[]string{"v=STSv1;id=a"}, "a"},
		{[]string{"v=STSv1 ; x=y ; id = b ;"}, "b"},
		{[]string{"v=spf1 -all", "v=STSv1; id=c"}, "c"},
		{[]string{"v=STSv1; id=a", "v=STSv1; id=b"}, ""},
		{[]string{"v=STSv1"}, ""},
		{[]string{"v=STSv1; id="}, ""},
		{[]string{"v=STSv1; id=a-b"}, ""},
		{[]string{"v=STSv1; id=" + strings.Repeat("a", 33)}, ""},
		{[]string{"v=STSv2; id=a"}, ""},
		{[]string{"V=STSv1; id=a"}, ""},
		{[]string{" v=STSv1; id=a"}, ""},
	} {
		if id, there := parseRecord(c.texts); id != c.want && there || there != (c.want != "") {
			t.Errorf("%q: %q, %v", c.texts, id, there)
		}
	}
}

// FuzzParse: what is a policy is one with a mode, a bounded age and hosts that are names; parsing its lines gives it again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{valid, "", "version: STSv1\nmode: none\nmax_age: 0", "mx: *.\n", "mode: testing\nversion: STSv1\nmx: ü.test\nmax_age: 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parse(s)
		if err != nil || len(s) > maxPolicy/2 { // the lines can be a little longer
			return
		}
		if p.MaxAge < 0 || p.MaxAge > maxAge || p.Mode != None && len(p.MX) == 0 {
			t.Fatalf("%+v", p)
		}
		for _, m := range p.MX {
			again, err := ParsePattern(m)
			if err != nil || again != m || !p.Fits(strings.Replace(m, "*", "x", 1)) {
				t.Fatalf("%q: %q, %v", m, again, err)
			}
		}
		again, err := parse(strings.Join(p.Lines, "\n"))
		if err != nil || again.Mode != p.Mode || again.MaxAge != p.MaxAge || !slices.Equal(again.MX, p.MX) {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}
