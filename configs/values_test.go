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

func TestDurationString(t *testing.T) {
	for d, want := range map[time.Duration]string{
		5 * time.Second: "5s", time.Minute: "1m", 36 * time.Hour: "36h", 90 * time.Minute: "1h30m",
		time.Hour + time.Second: "1h0m1s", 10 * time.Minute: "10m",
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
