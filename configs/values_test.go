package configs

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What is printed is read again as the same, so that messages can be copied into the file.
func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size, duration := Size(rapid.Int64Range(1, math.MaxInt64).Draw(t, "size")), Duration(
			rapid.Int64Range(1, math.MaxInt64).Draw(t, "duration"))
		var s Size
		if err := s.UnmarshalText([]byte(size.String())); err != nil || s != size {
			t.Errorf("%v: %v, %v", size, s, err)
		}
		var d Duration
		if err := d.UnmarshalText([]byte(duration.String())); err != nil || d != duration {
			t.Errorf("%v: %v, %v", duration, d, err)
		}
		var m FileMode
		mode := FileMode(0o700 | rapid.IntRange(0, 0o77).Draw(t, "mode"))
		if err := m.UnmarshalText([]byte(mode.String())); err != nil || m != mode {
			t.Errorf("%v: %v, %v", mode, m, err)
		}
	})
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"1B": 1, "50MiB": 50 << 20, "2 GiB": 2 << 30, "8589934591GiB": 8589934591 << 30,
		"": 0, "50": 0, "MiB": 0, "-1B": 0, "+1B": 0, "1.5MiB": 0, "50MB": 0, "50mib": 0, "0B": 0, "1e3B": 0,
		"8589934592GiB": 0, "9223372036854775808B": 0, "99999999999999999999GiB": 0,
	} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5s": 5 * time.Second, "1h30m": 90 * time.Minute, "1d": day, "65535d": 65535 * day, "0.5s": time.Second / 2,
		"": 0, "5": 0, "0s": 0, "0d": 0, "-1d": 0, "+1d": 0, "1.5d": 0, "1d12h": 0, "65536d": 0, "d": 0, "5D": 0, "never": 0,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); d.Std() != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %v, %v, want %v", text, d, err, want)
		}
		d = 0
		if err := (*DurationOrNever)(&d).UnmarshalText([]byte(text)); d.Std() != want ||
			(err == nil) != (want != 0 || text == never) {
			t.Errorf("%q or never: %v, %v, want %v", text, d, err, want)
		}
	}
	if s := DurationOrNever(0).String(); s != never {
		t.Error(s)
	}
	if s := DurationOrNever(4 * time.Hour).String(); s != "4h" {
		t.Error(s)
	}
}

func TestSmarthost(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"smtp://mail.host.test":        "smtp://mail.host.test:587",
		"smtp://Mail.Host.Test.:25":    "smtp://mail.host.test:25",
		"smtps://mail.host.test":       "smtps://mail.host.test:465",
		"smtps://192.0.2.1":            "smtps://192.0.2.1:465",
		"smtp://[2001:db8::1]":         "smtp://[2001:db8::1]:587",
		"smtp://[2001:db8::1]:2525":    "smtp://[2001:db8::1]:2525",
		"smtp://":                      "error",
		"smtps://:465":                 "error",
		"mail.host.test":               "error",
		"mail.host.test:587":           "error",
		"lmtp://mail.host.test":        "error",
		"SMTP://mail.host.test":        "error",
		"smtps://smtp://host.test":     "error",
		"smtp://2001:db8::1":           "error",
		"smtp://mail.host.test:0":      "error",
		"smtp://mail.host.test:70000":  "error",
		"smtp://mail.host.test:":       "error",
		"smtp://mail.host.test/":       "error",
		"smtp://u:secret@mail.test:25": "error",
		"smtp://300.1.1.1":             "error",
	} {
		var s Smarthost
		err := s.UnmarshalText([]byte(text))
		if err != nil {
			if want != "error" || !s.IsZero() {
				t.Errorf("%q: %v, %v", text, s, err)
			}
			continue
		}
		if got := s.String(); got != want || s.IsZero() != (want == "") {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		var again Smarthost
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%q: read again %v, %v", s, again, err)
		}
	}
}

func TestDurationString(t *testing.T) {
	for d, want := range map[time.Duration]string{
		5 * time.Second: "5s", time.Minute: "1m", 36 * time.Hour: "36h", 90 * time.Minute: "1h30m",
		time.Hour + time.Second: "1h0m1s", 10 * time.Minute: "10m", 24 * time.Hour: "1d", 120 * time.Hour: "5d",
		24*time.Hour + time.Second: "24h0m1s", 70_000 * day: "1680000h",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:25", "127.0.0.1:25", true},
		{"127.0.0.1:25", "127.0.0.1:26", false},
		{"127.0.0.1:25", "127.0.0.2:25", false},
		{"0.0.0.0:25", "127.0.0.1:25", true},
		{"0.0.0.0:25", "[::1]:25", false},
		{"0.0.0.0:25", "[::]:25", true},
		{"[::]:25", "127.0.0.1:25", true},
		{":25", "[::1]:25", true},
		{"[::1]:25", "[0:0::1]:25", true},
		{"[::ffff:127.0.0.1]:25", "127.0.0.1:25", true},
		{"unix:/a", "unix:/a", true},
		{"unix:/a", "unix:/b", false},
		{"unix:/a", "127.0.0.1:25", false},
	} {
		var a, b Endpoint
		if a.UnmarshalText([]byte(tt.a)) != nil || b.UnmarshalText([]byte(tt.b)) != nil {
			t.Fatal(tt)
		}
		if overlap(a, b) != tt.want || overlap(b, a) != tt.want {
			t.Errorf("%s and %s: want %v", tt.a, tt.b, tt.want)
		}
	}
}
