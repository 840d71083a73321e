package guard

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever the times of the uses: there are never more in a span than the rate and what came back in it, and who stays
// below it is never refused.
func TestBucketKeepsItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{rapid.IntRange(1, 20).Draw(t, "count"), time.Duration(rapid.IntRange(1, 1000).Draw(t, "per"))}
		var b bucket
		var now int64
		var taken []int64
		for range rapid.IntRange(1, 200).Draw(t, "uses") {
			now += int64(rapid.IntRange(0, 100).Draw(t, "pause"))
			recent := 0
			for _, at := range taken {
				if now-at < int64(r.Per) {
					recent++
				}
			}
			share, ok := b.take(now, r)
			if share < 0 || share > 1 || b.used(now, r) > int64(r.Per) {
				t.Fatalf("share %v, used %d", share, b.used(now, r))
			}
			switch {
			case ok:
				taken = append(taken, now)
			case recent == 0:
				t.Fatal("refused though there was nothing for a whole span")
			}
			for i, at := range taken {
				span := taken[len(taken)-1] - at
				if n := int64(len(taken) - i); n > int64(r.Per)/r.step()+span/r.step()+1 {
					t.Fatalf("%d in %d", n, span)
				}
			}
		}
	})
}

// One use in each step is never refused, and never even slow.
func TestSteadyIsNotNoticed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{rapid.IntRange(2, 1000).Draw(t, "count"), time.Duration(rapid.IntRange(1000, 1e12).Draw(t, "per"))}
		var b bucket
		var now int64
		for n := range 100 {
			now += r.step() + rapid.Int64Range(0, 10).Draw(t, "late")
			if share, ok := b.take(now, r); !ok || share > 0.5 {
				t.Fatal(n, share, ok)
			}
		}
	})
}

func TestSlowed(t *testing.T) {
	for _, tt := range []struct {
		share float64
		from  int
		want  time.Duration
	}{
		{0, 50, 0}, {0.5, 50, 0}, {0.75, 50, time.Second}, {1, 50, 2 * time.Second}, {1, 100, 0}, {0.5, 0, time.Second},
	} {
		if got := slowed(tt.share, tt.from, 2*time.Second); got != tt.want {
			t.Errorf("%v from %d%%: %v", tt.share, tt.from, got)
		}
	}
}

// The place of a new key is that of the lightest, and all others stay.
func TestTableKeepsTheHeavy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newTable[int64](1)
		weigh := func(v *int64) int64 { return *v }
		weights := map[uint64]int64{}
		for n := range rapid.IntRange(1, 60).Draw(t, "keys") {
			key := uint64(n+1) * locks // all in one set
			w := rapid.Int64Range(0, 1000).Draw(t, "weight")
			if len(weights) == places {
				lightest := key
				for k := range weights {
					if lightest == key || weights[k] < weights[lightest] {
						lightest = k
					}
				}
				least := weights[lightest]
				table.change(key, weigh, func(v *int64) { *v = w })
				gone := 0
				for k, want := range weights {
					found := false
					table.look(k, func(v *int64) { found = *v == want })
					if !found {
						gone++
						if want != least {
							t.Fatalf("%d is gone, the lightest was %d", want, least)
						}
						delete(weights, k)
					}
				}
				if gone != 1 {
					t.Fatalf("%d are gone", gone)
				}
			} else {
				table.change(key, weigh, func(v *int64) { *v = w })
			}
			weights[key] = w
		}
	})
}
