package dispatch

import (
	"testing"
	"time"
)

func TestAfter(t *testing.T) {
	for failures, minutes := range []int{5, 5, 10, 20, 40, 80, 160, 240, 240} {
		want := time.Duration(minutes) * time.Minute
		for range 100 {
			if got := schedule.after(failures); got < want*9/10 || got > want*11/10 {
				t.Errorf("%v after %d failures instead of %v", got, failures, want)
			}
		}
	}
	if got := schedule.after(1 << 40); got > schedule.Max*11/10 {
		t.Error(got)
	}
	if got := (Schedule{}).after(5); got <= 0 {
		t.Error(got)
	}
}
