package configs

import (
	"testing"
	"time"
)

// What is not said follows what is.
func TestAbuseDefaults(t *testing.T) {
	c, err := Load("testdata/good/abuse.toml")
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Abuse.NetworkConnections; n != 5000 {
		t.Errorf("a network may have less than one client: %d", n)
	}
	if d := c.Greylist.RetryWithin.Std(); d != 8*24*time.Hour {
		t.Errorf("who is delayed has to come again within %v", d)
	}
	if r := c.Abuse.HostConnectionRate; r != (Rate{}) {
		t.Error(r)
	}
	if l := c.Lists; l[0].Action != ListRefuse || l[1].Action != ListAllow || len(l[0].Codes) != 2 {
		t.Error(l)
	}
}

// What is printed can be read again.
func TestRatesAndCodes(t *testing.T) {
	for _, s := range []string{"never", "1/1s", "1200/1m", "20/15m", "5/2d", "1000/1h30m"} {
		var r Rate
		if err := r.UnmarshalText([]byte(s)); err != nil || r.String() != s {
			t.Errorf("%s: %v, %v", s, r, err)
		}
	}
	for _, s := range []string{"", "/", "1", "1/", "/1m", "0/1m", "-1/1m", "1.5/1m", "1/0s", "1/m", "99999999999/1s", "1/1m/1m"} {
		var r Rate
		if err := r.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%s: %v", s, r)
		}
	}
	for _, s := range []string{"127.0.0.2", "127.0.0.2-127.0.0.11", "127.0.0.0-127.255.255.255"} {
		var c Codes
		if err := c.UnmarshalText([]byte(s)); err != nil || c.String() != s {
			t.Errorf("%s: %v, %v", s, c, err)
		}
	}
}
